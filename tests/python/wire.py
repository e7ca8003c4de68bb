"""Flight's messages and HTTP/2's frames by hand, for clients that no library would let through."""

import socket
import struct
import threading

import grpc
import pyarrow as pa
import pyarrow.ipc

SERVICE = "/arrow.flight.protocol.FlightService/"
SQL = "type.googleapis.com/arrow.flight.protocol.sql."
NO_LIMITS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1),
             ("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]


def varint(number):
    out = b""
    while True:
        byte, number = number & 127, number >> 7
        out += bytes([byte | (128 if number else 0)])
        if not number:
            return out


def field(number, value):
    """A length-delimited field; nothing for None."""
    if value is None:
        return b""
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def number_field(number, value):
    return varint(number << 3) + varint(value)


def path_descriptor(*path):
    return number_field(1, 1) + b"".join(field(3, part) for part in path)


def command_descriptor(command):
    return number_field(1, 2) + field(2, command)


def any_message(name, body=b""):
    return field(1, SQL + name) + field(2, body)


def ingest_command(table):
    """Bulk ingest into a table that is there."""
    modes = number_field(1, 2) + number_field(2, 2)
    schema, name = table
    return any_message("CommandStatementIngest", field(1, modes) + field(2, name) + field(3, schema))


def action(kind, body=b""):
    return field(1, kind) + field(2, body)


def flight_data(descriptor=None, header=None, metadata=None, body=None):
    return field(1, descriptor) + field(2, header) + field(3, metadata) + field(1000, body)


def ipc_messages(batch, compression=None):
    """(header, body) of the schema, each dictionary, and the batch."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_batch(batch)
    reader = pa.ipc.MessageReader.open_stream(sink.getvalue())
    return [(m.metadata.to_pybytes(), m.body.to_pybytes() if m.body is not None else b"") for m in reader]


def put_messages(descriptor, batch, compression=None):
    """A whole DoPut stream of one batch."""
    (schema, _), *rest = ipc_messages(batch, compression)
    return [flight_data(descriptor, schema)] + [flight_data(header=header, body=body) for header, body in rest]


def channel(server):
    return grpc.insecure_channel(f"127.0.0.1:{server.port}", options=NO_LIMITS)


def answer(call):
    """(code, text) of what a call ended with."""
    try:
        answers = list(call()) if callable(call) else list(call)
        return ("OK", str(len(answers)))
    except grpc.RpcError as error:
        return (error.code().name, error.details() or "")


def do_put(channel, messages, timeout=30):
    return answer(channel.stream_stream(SERVICE + "DoPut")(iter(messages), timeout=timeout))


def call(channel, method, body, timeout=30):
    """A call that sends one message, and may be answered by many."""
    return answer(channel.unary_stream(SERVICE + method)(body, timeout=timeout))


class Http2:
    """A connection that sends what it is told to."""

    def __init__(self, server):
        self.socket = socket.create_connection(("127.0.0.1", server.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer, self.windows, self.initial, self.stream = b"", {0: 65535}, 65535, -1
        self.closed, self.resets = False, set()
        self.socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + self.frame(4, 0, 0, b""))

    @staticmethod
    def frame(kind, flags, stream, payload):
        return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload

    def read(self, timeout):
        """Takes what has come; False if nothing did."""
        self.socket.settimeout(timeout)
        try:
            more = self.socket.recv(65536)
        except (TimeoutError, BlockingIOError):
            return False
        except OSError:
            more = b""
        if not more:
            self.closed = True
            return False
        self.buffer += more
        while len(self.buffer) >= 9:
            length = struct.unpack(">I", b"\0" + self.buffer[:3])[0]
            if len(self.buffer) < 9 + length:
                break
            kind, flags = self.buffer[3], self.buffer[4]
            stream = struct.unpack(">I", self.buffer[5:9])[0] & 0x7FFFFFFF
            payload, self.buffer = self.buffer[9:9 + length], self.buffer[9 + length:]
            if kind == 8:
                self.windows[stream] = self.windows.get(stream, self.initial) + struct.unpack(">I", payload)[0]
            elif kind == 4 and not flags & 1:
                for at in range(0, length, 6):
                    key, value = struct.unpack(">HI", payload[at:at + 6])
                    if key == 4:
                        for open_stream in self.windows:
                            if open_stream:
                                self.windows[open_stream] += value - self.initial
                        self.initial = value
                self.send(self.frame(4, 1, 0, b""))
            elif kind == 6 and not flags & 1:
                self.send(self.frame(6, 1, 0, payload))
            elif kind == 3 or (kind == 1 and flags & 1):
                self.resets.add(stream)
            elif kind == 7:
                self.closed = True
        return True

    def send(self, data):
        self.socket.settimeout(10)
        try:
            self.socket.sendall(data)
        except OSError:
            self.closed = True

    def open(self, method):
        """Begins a call; returns its stream."""
        self.stream += 2
        headers = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", (SERVICE + method).encode()), (b":authority", b"x"),
                   (b"content-type", b"application/grpc"), (b"te", b"trailers")]
        # Literals without indexing; no value is longer than 126 bytes.
        block = b"".join(b"\0" + bytes([len(n)]) + n + bytes([len(v)]) + v for n, v in headers)
        self.windows[self.stream] = self.initial
        self.send(self.frame(1, 4, self.stream, block))
        return self.stream

    def data(self, stream, payload, timeout=10):
        """Sends as flow control lets it; returns how much."""
        sent = 0
        while sent < len(payload) and not self.closed and stream not in self.resets:
            while self.read(0.0001):
                pass
            room = min(self.windows[0], self.windows[stream], 16384)
            if room <= 0:
                if not self.read(timeout):
                    break
                continue
            part = payload[sent:sent + room]
            self.send(self.frame(0, 0, stream, part))
            self.windows[0] -= len(part)
            self.windows[stream] -= len(part)
            sent += len(part)
        return sent

    def half_message(self, size, method="DoPut"):
        """All but the last byte of one message. Returns how much of it was let in."""
        return self.data(self.open(method), b"\0" + struct.pack(">I", size) + bytes(size - 1), timeout=1)

    def answer_pings(self):
        """Keeps the connection alive from now on."""
        def loop():
            while not self.closed:
                self.read(0.2)
        threading.Thread(target=loop, daemon=True).start()

    def close(self):
        self.closed = True
        self.socket.close()
