//! Every function of the engine, with what was found about the memory and the time that a call can take. A test compares this
//! list with the functions that are registered, so that an upgrade of DataFusion cannot bring one that nobody has looked at.

use super::bounded::{Cost, Estimate};
use super::call::Call;

/// Functions whose result is at most a few times as large as their arguments, and takes about as long to make.
pub(super) const PLAIN: &str = "
    abs acos acosh array_add array_any_value array_append array_avg array_compact array_concat array_dims array_distance
    array_distinct array_element array_except array_has array_intersect array_length array_ndims
    array_normalize array_pop_back array_pop_front array_position array_positions array_prepend array_product array_remove
    array_remove_all array_remove_n array_reverse array_scale array_slice array_sort array_subtract array_sum array_union
    arrays_zip arrow_field arrow_metadata arrow_typeof as_another ascii asin asinh at_time_zone atan atan2 atanh bit_length cardinality cast_to_type
    cbrt ceil character_length coalesce contains cos cosh cosine_distance cot current_catalog current_database current_date
    current_schema current_time current_user date_part date_trunc
    decode degrees digest empty ends_with exp factorial find_in_set flatten floor from_unixtime gcd get_field greatest
    inner_product isnan iszero json_as_text json_contains json_get_bool json_get_float json_get_int json_get_json json_get_str
    json_length json_object_keys lcm least left ln log log10 log2 make_array make_date make_time map map_entries map_extract
    map_keys map_values md5 named_as_written named_struct nanvl now nullif nvl nvl2 octet_length overlay pi power radians random regexp_count
    regexp_instr regexp_like regexp_match reverse right round session_user similar_to_escape sha224 sha256 sha384 sha512 signum sin sinh split_part sqrt
    starts_with strpos struct substr substr_index tan tanh time_bucket times_between to_date to_hex to_local_time to_time to_timestamp
    to_timestamp_micros to_timestamp_millis to_timestamp_nanos to_timestamp_seconds to_unixtime trunc try_cast_to_type tumble
    union_extract union_tag uuid version with_metadata input_file_name file_row_index date_bin
";

/// Aggregates: their states are counted by the operator that holds them, row by row; `approx_percentile_cont` also takes
/// memory by its last argument, which `arguments` bounds.
pub const AGGREGATES: &str = "
    any_value approx_distinct approx_median approx_percentile_cont approx_percentile_cont_with_weight array_agg avg bit_and
    bit_or bit_xor bool_and bool_or corr count covar_pop covar_samp first_value grouping last_value max median min nth_value
    percentile_cont regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy stddev
    stddev_pop string_agg sum var var_pop
";

/// Window functions: one value a row.
pub const WINDOWS: &str = "
    cume_dist dense_rank first_value lag last_value lead nth_value ntile percent_rank rank row_number
";

/// Table functions: they give their rows batch by batch.
pub const TABLES: &str = "generate_series range changes latest last_seen";

/// The others, each with the most that one row's result can take.
pub(super) const BOUNDED: &[(&str, Estimate)] = &[
    ("array_has_all", pairs),
    ("array_has_any", pairs),
    ("array_max", of_list),
    ("array_min", of_list),
    ("array_repeat", array_repeat),
    ("array_replace", array_replace),
    ("array_replace_all", array_replace),
    ("array_replace_n", array_replace),
    ("array_resize", array_resize),
    ("array_to_string", array_to_string),
    ("arrow_cast", cast),
    ("arrow_try_cast", cast),
    ("btrim", trim),
    ("bucket_series", series),
    ("chr", small),
    ("concat", sum),
    ("concat_ws", concat_ws),
    ("encode", doubled),
    ("generate_series", series),
    ("hop", hop),
    ("initcap", tripled),
    ("levenshtein", levenshtein),
    ("lower", tripled),
    ("lpad", pad),
    ("ltrim", trim),
    ("range", series),
    ("regexp_replace", regexp_replace),
    ("repeat", repeat),
    ("replace", replace),
    ("rpad", pad),
    ("rtrim", trim),
    ("string_to_array", string_to_array),
    ("to_char", to_char),
    ("translate", tripled),
    ("upper", tripled),
];

/// Bytes of a number, a time, or an offset with its neighbour.
const ELEMENT: u64 = 16;

fn small(_: &Call, _: usize) -> Cost {
    Cost::bytes(ELEMENT)
}

fn repeat(call: &Call, row: usize) -> Cost {
    Cost::bytes(call.length(0, row).saturating_mul(call.times(1, row)))
}

/// The length counts characters: up to four bytes each, if the texts are not plain.
fn pad(call: &Call, row: usize) -> Cost {
    Cost::bytes(call.times(1, row).saturating_mul(4))
}

fn replace(call: &Call, row: usize) -> Cost {
    let (text, from, to) = (
        call.length(0, row),
        call.length(1, row),
        call.length(2, row),
    );
    // An empty text is found between any two characters.
    let found = match from {
        0 => text + 1,
        from => text / from,
    };
    Cost::bytes(text.saturating_add(found.saturating_mul(to)))
}

/// Each place may match; what a group holds is repeated once a reference, of which a replacement has at most one in two bytes.
fn regexp_replace(call: &Call, row: usize) -> Cost {
    let (text, to) = (call.length(0, row), call.length(2, row));
    let matches = if call.length(3, row) > 0 { text + 1 } else { 1 };
    let replaced = matches.saturating_mul(to);
    let references = text.saturating_mul(to.min(20) / 2);
    Cost::bytes(text.saturating_add(replaced).saturating_add(references))
}

fn doubled(call: &Call, row: usize) -> Cost {
    Cost::bytes(call.length(0, row).saturating_mul(2))
}

/// Another case, or another letter, may take more bytes.
fn tripled(call: &Call, row: usize) -> Cost {
    Cost::bytes(call.length(0, row).saturating_mul(3))
}

pub(super) fn sum(call: &Call, row: usize) -> Cost {
    let all = (0..call.count()).map(|n| call.bytes(n, row));
    Cost::bytes(all.fold(0, u64::saturating_add))
}

fn concat_ws(call: &Call, row: usize) -> Cost {
    let separators = call.length(0, row).saturating_mul(call.count() as u64);
    Cost::bytes(sum(call, row).bytes.saturating_add(separators))
}

/// One of the list's values. Wrapped because DataFusion 55 fails where there are no rows and the values are texts or BOOLEAN.
pub(super) fn of_list(call: &Call, row: usize) -> Cost {
    Cost::bytes(call.bytes(0, row))
}

fn array_repeat(call: &Call, row: usize) -> Cost {
    let each = call.bytes(0, row).max(1).saturating_add(ELEMENT);
    Cost::bytes(call.times(1, row).saturating_mul(each))
}

fn array_resize(call: &Call, row: usize) -> Cost {
    let each = call.bytes(2, row).max(1).saturating_add(ELEMENT);
    let added = call.times(1, row).saturating_mul(each);
    Cost::bytes(added.saturating_add(call.bytes(0, row)))
}

fn array_replace(call: &Call, row: usize) -> Cost {
    let put = call.bytes(2, row).max(1);
    let all = call.length(0, row).saturating_mul(put);
    Cost::bytes(all.saturating_add(call.bytes(0, row)))
}

/// A number takes up to 25 characters.
fn array_to_string(call: &Call, row: usize) -> Cost {
    let between = call
        .length(1, row)
        .max(call.length(2, row))
        .saturating_add(25);
    let elements = call.length(0, row).max(call.bytes(0, row) / 8);
    let separators = elements.saturating_mul(between);
    Cost::bytes(separators.saturating_add(call.bytes(0, row)))
}

/// One element a separator, or a character.
fn string_to_array(call: &Call, row: usize) -> Cost {
    let text = call.length(0, row);
    let elements = text / call.length(1, row).max(1) + 1;
    Cost::bytes(elements.saturating_mul(ELEMENT).saturating_add(text))
}

/// A list as text.
fn cast(call: &Call, row: usize) -> Cost {
    Cost::bytes(call.bytes(0, row).saturating_mul(4))
}

/// A directive of two bytes gives up to 35.
fn to_char(call: &Call, row: usize) -> Cost {
    let bytes = call.length(1, row).saturating_mul(20).max(64);
    Cost {
        bytes,
        steps: bytes,
    }
}

fn levenshtein(call: &Call, row: usize) -> Cost {
    let (one, other) = (call.length(0, row), call.length(1, row));
    Cost {
        bytes: one.saturating_add(other).saturating_mul(8),
        steps: one.saturating_mul(other),
    }
}

fn pairs(call: &Call, row: usize) -> Cost {
    Cost {
        bytes: ELEMENT,
        steps: call.length(0, row).saturating_mul(call.length(1, row)),
    }
}

/// Each character is looked for among those to take off.
fn trim(call: &Call, row: usize) -> Cost {
    let text = call.length(0, row);
    Cost {
        bytes: text,
        steps: text.saturating_mul(call.length(1, row)),
    }
}

/// Numbers or times from one to another: `range(until)`, `range(from, until)`, `range(from, until, step)`.
fn series(call: &Call, row: usize) -> Cost {
    let number = |n| call.number(n, row).unwrap_or(0);
    let (from, until, step) = match call.count() {
        1 => (0, number(0), 1),
        2 => (number(0), number(1), 1),
        _ => (number(0), number(1), number(2)),
    };
    let length = until.abs_diff(from) / step.unsigned_abs().max(1);
    let wrong_way = (until < from) != (step < 0);
    let is_null = (0..call.count()).any(|n| call.number(n, row).is_none());
    let elements = if is_null {
        1
    } else if step == 0 {
        // It stands still, or goes forward and back.
        u128::MAX
    } else if wrong_way {
        1
    } else {
        length.saturating_add(1)
    };
    Cost::bytes(
        u64::try_from(elements)
            .unwrap_or(u64::MAX)
            .saturating_mul(ELEMENT),
    )
}

/// `hop(ts, step, size)`: the windows that hold one instant.
fn hop(call: &Call, row: usize) -> Cost {
    let span = |n| call.number(n, row).unwrap_or(0);
    let windows = span(2) / span(1).max(1) + 1;
    Cost::bytes(u64::try_from(windows).unwrap_or(u64::MAX).saturating_mul(8))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_function_stands_in_both_lists() {
        let plain: BTreeSet<&str> = PLAIN.split_whitespace().collect();
        assert_eq!(plain.len(), PLAIN.split_whitespace().count());
        let both: Vec<&str> = BOUNDED
            .iter()
            .map(|(n, _)| *n)
            .filter(|n| plain.contains(n))
            .collect();
        assert_eq!(both, Vec::<&str>::new());
    }
}
