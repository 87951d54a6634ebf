"""The columns of an index: one row a sequence."""

import pyarrow as pa

VERSION = 1

COLUMNS = pa.schema(
    [
        pa.field(
            "path", pa.string(), nullable=False
        ),  # of the file, or of the shard; relative to the index's `root`
        pa.field(
            "source", pa.string()
        ),  # of a packed sequence, the file that it was made from; null otherwise
        pa.field(
            "first", pa.int32(), nullable=False
        ),  # number of the sequence's first frame in the file
        pa.field("frames", pa.int32(), nullable=False),  # frames of the sequence
        pa.field("width", pa.int32(), nullable=False),  # pixels, as decoded
        pa.field("height", pa.int32(), nullable=False),
        pa.field("fps_num", pa.int32(), nullable=False),
        pa.field("fps_den", pa.int32(), nullable=False),
        pa.field(
            "kind", pa.string(), nullable=False
        ),  # "video", "raw" (.yuv, .y4m) or "images" (a folder)
        pa.field("codec", pa.string(), nullable=False),  # ffmpeg's name, "" for raw and images
        pa.field("pixel_format", pa.string(), nullable=False),  # ffmpeg's name
        pa.field("matrix", pa.string(), nullable=False),  # "bt601" or "bt709"
        pa.field("full_range", pa.bool_(), nullable=False),
        pa.field("colour_origin", pa.string(), nullable=False),  # "tagged" or "guessed"
        pa.field("plain", pa.bool_(), nullable=False),  # see `Probe.plain`
        pa.field(
            "file_frames", pa.int32(), nullable=False
        ),  # true number of frames of the whole file
        pa.field(
            "pts_first", pa.int64(), nullable=False
        ),  # time of the file's first frame, in the stream's units
        pa.field(
            "pts_step", pa.int32(), nullable=False
        ),  # units from frame to frame; 0: to be probed, they vary or the video is a later stream
        pa.field(
            "key_frames", pa.list_(pa.int32()), nullable=False
        ),  # frame numbers in the file, those useful here
        pa.field("offset", pa.int64()),  # of a shard's member, in bytes; null for a file of its own
        pa.field("bytes", pa.int64(), nullable=False),  # of the file or the member
        pa.field("mtime_ns", pa.int64(), nullable=False),  # of the file or the shard
        pa.field("content", pa.string(), nullable=False),  # xxh3-128 of the file's bytes, in hex
        pa.field(
            "hashes", pa.list_(pa.uint64()), nullable=False
        ),  # perceptual hashes of frames spread over the sequence
        pa.field(
            "motion", pa.float32(), nullable=False
        ),  # mean absolute difference of neighbouring frames, luma 0..255
        pa.field("luma", pa.float32(), nullable=False),  # mean, 0..255
        pa.field("licence", pa.string(), nullable=False),  # "" when unknown
    ]
)

READ_IN_TRAINING = [
    name
    for name in COLUMNS.names
    if name not in ("content", "hashes", "motion", "luma", "mtime_ns")
]
