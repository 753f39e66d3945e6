import hashlib
import pickle

import google_crc32c
import pytest

from echojax.records import tfrecord

RECORDS = [b"", b"echo", bytes(range(256))]
# TensorFlow 2.21, tf.io.TFRecordWriter, the three records above.
BY_TENSORFLOW = bytes.fromhex(
    "000000000000000029039807d8ea82a20400000000000000424552046563686f7ae4cf7500010000000000002fb308df0001"
    "02030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f30313233"
    "3435363738393a3b3c3d3e3f404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f606162636465"
    "666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f808182838485868788898a8b8c8d8e8f9091929394959697"
    "98999a9b9c9d9e9fa0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebfc0c1c2c3c4c5c6c7c8c9"
    "cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedfe0e1e2e3e4e5e6e7e8e9eaebecedeeeff0f1f2f3f4f5f6f7f8f9fafb"
    "fcfdfeff60231ad3"
)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "shard"
    with tfrecord.TFRecordWriter(path) as writer:
        for data in RECORDS:
            writer.write(data)
    return path


@pytest.mark.parametrize(
    "data, crc",
    [
        (b"123456789", 0xE3069283),
        # RFC 3720, B.4.
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_crc32c_known_values(data, crc):
    assert google_crc32c.value(data) == crc
    assert tfrecord.masked_crc32c(data) == ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32


def test_bytes_are_tensorflows(path):
    assert path.read_bytes() == BY_TENSORFLOW


def test_scan_and_read(path):
    buffer = path.read_bytes()
    places = list(tfrecord.scan(path, buffer))
    assert places == [(12, 0), (28, 4), (48, 256)]
    assert [tfrecord.read_record(path, buffer, *place) for place in places] == RECORDS
    assert list(tfrecord.scan(path, b"")) == []


def test_writer_counts(tmp_path):
    with tfrecord.TFRecordWriter(tmp_path / "shard") as writer:
        writer.write(b"echo")
        assert (writer.num_records, writer.num_bytes) == (1, 20)
        assert not (tmp_path / "shard").exists()
    assert writer.sha256() == hashlib.sha256((tmp_path / "shard").read_bytes()).hexdigest()


def test_an_error_while_writing_leaves_no_file(tmp_path):
    def write():
        with tfrecord.TFRecordWriter(tmp_path / "shard") as writer:
            writer.write(b"echo")
            raise KeyError

    with pytest.raises(KeyError):
        write()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("position", range(len(BY_TENSORFLOW)))
def test_every_flipped_byte_is_found(position):
    damaged = bytearray(BY_TENSORFLOW)
    damaged[position] ^= 1 << position % 8
    start = max(start for start in (0, 16, 36) if start <= position)
    with pytest.raises(tfrecord.DamagedShard) as caught:
        for place in tfrecord.scan("shard", bytes(damaged)):
            tfrecord.read_record("shard", bytes(damaged), *place)
    assert caught.value.offset == start


@pytest.mark.parametrize("size", [1, 11, 15, 17, 30, 35, 37, 200, len(BY_TENSORFLOW) - 1])
def test_every_truncation_is_found(size):
    with pytest.raises(tfrecord.DamagedShard, match=r"truncated|ends inside"):
        list(tfrecord.scan("shard", BY_TENSORFLOW[:size]))


def test_reading_at_a_wrong_place_is_an_error(path):
    buffer = path.read_bytes()
    with pytest.raises(tfrecord.DamagedShard, match="another file"):
        tfrecord.read_record(path, buffer, 28, 5)
    with pytest.raises(tfrecord.DamagedShard):
        tfrecord.read_record(path, buffer, 29, 4)
    with pytest.raises(tfrecord.DamagedShard):
        tfrecord.read_record(path, buffer, 10_000, 4)


def test_error_survives_a_process_boundary():
    error = pickle.loads(pickle.dumps(tfrecord.DamagedShard("file", 7, "broken")))
    assert (str(error), error.offset) == ("file: byte 7: broken", 7)
