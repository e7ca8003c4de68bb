//! The calls that an object store over another one passes on as they are.

/// Inside an `impl ObjectStore` with `#[async_trait]`, `passed_on!(inner: list, copy_opts)` writes these methods: each calls
/// the same method of the field `inner`. The asynchronous ones are written as `async_trait` would, which does not see into a
/// macro.
macro_rules! passed_on {
    ($inner:ident: $($method:ident),+ $(,)?) => {
        $(passed_on!(@$method $inner);)+
    };
    (@put_multipart_opts $inner:ident) => {
        fn put_multipart_opts<'a, 'b, 'c>(
            &'a self,
            location: &'b object_store::path::Path,
            options: object_store::PutMultipartOptions,
        ) -> futures::future::BoxFuture<'c, object_store::Result<Box<dyn object_store::MultipartUpload>>>
        where
            'a: 'c,
            'b: 'c,
        {
            self.$inner.put_multipart_opts(location, options)
        }
    };
    (@delete_stream $inner:ident) => {
        fn delete_stream(
            &self,
            locations: futures::stream::BoxStream<'static, object_store::Result<object_store::path::Path>>,
        ) -> futures::stream::BoxStream<'static, object_store::Result<object_store::path::Path>> {
            self.$inner.delete_stream(locations)
        }
    };
    (@list $inner:ident) => {
        fn list(
            &self,
            prefix: Option<&object_store::path::Path>,
        ) -> futures::stream::BoxStream<'static, object_store::Result<object_store::ObjectMeta>> {
            self.$inner.list(prefix)
        }
    };
    (@list_with_offset $inner:ident) => {
        fn list_with_offset(
            &self,
            prefix: Option<&object_store::path::Path>,
            offset: &object_store::path::Path,
        ) -> futures::stream::BoxStream<'static, object_store::Result<object_store::ObjectMeta>> {
            self.$inner.list_with_offset(prefix, offset)
        }
    };
    (@list_with_delimiter $inner:ident) => {
        fn list_with_delimiter<'a, 'b, 'c>(
            &'a self,
            prefix: Option<&'b object_store::path::Path>,
        ) -> futures::future::BoxFuture<'c, object_store::Result<object_store::ListResult>>
        where
            'a: 'c,
            'b: 'c,
        {
            self.$inner.list_with_delimiter(prefix)
        }
    };
    (@copy_opts $inner:ident) => {
        fn copy_opts<'a, 'b, 'c, 'd>(
            &'a self,
            from: &'b object_store::path::Path,
            to: &'c object_store::path::Path,
            options: object_store::CopyOptions,
        ) -> futures::future::BoxFuture<'d, object_store::Result<()>>
        where
            'a: 'd,
            'b: 'd,
            'c: 'd,
        {
            self.$inner.copy_opts(from, to, options)
        }
    };
}

pub(super) use passed_on;
