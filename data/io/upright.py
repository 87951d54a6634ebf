"""Upright frames: turned and mirrored as a file's display matrix says, the samples untouched."""

import av
import av.filter
import numpy as np
from av.sidedata.sidedata import Type

Turn = tuple[int, int, int, int]
# signs of the display matrix's first two rows and columns -> ffmpeg's filters that do the same
TURNS: dict[Turn, list[tuple[str, str]]] = {
    (1, 0, 0, 1): [],
    (-1, 0, 0, 1): [("hflip", "")],
    (1, 0, 0, -1): [("vflip", "")],
    (-1, 0, 0, -1): [("hflip", ""), ("vflip", "")],
    (0, 1, -1, 0): [("transpose", "clock")],
    (0, -1, 1, 0): [("transpose", "cclock")],
    (0, 1, 1, 0): [("transpose", "cclock_flip")],
    (0, -1, -1, 0): [("transpose", "clock_flip")],
}
UPRIGHT = (1, 0, 0, 1)


class Upright:
    """Turns the frames of one decoder, one after the other, each as it says itself.

    4:2:0 stays 4:2:0; its chroma, sited left of the luma, lies above it after a quarter turn, as it
    does for ffmpeg and players.
    """

    def __init__(self) -> None:
        self._graphs: dict[tuple[str, int, int, Turn], av.filter.Graph] = {}

    def __call__(self, frame: av.VideoFrame) -> av.VideoFrame:
        """The frame as it is to be seen; itself where it is upright, or turned by no quarter."""
        turn = turn_of(frame)
        if turn is None or not TURNS.get(turn):
            return frame
        key = (frame.format.name, frame.width, frame.height, turn)
        graph = self._graphs.get(key)
        if graph is None:
            graph = self._graphs[key] = _graph(frame, turn)
        graph.push(frame)
        turned = graph.pull()
        assert isinstance(turned, av.VideoFrame)
        return turned


def turn_of(frame: av.VideoFrame) -> Turn | None:
    """The key of `TURNS`; None without a display matrix. Of a turn by no quarter, no key."""
    for data in frame.side_data:
        if data.type is Type.DISPLAYMATRIX:
            matrix = np.frombuffer(bytes(data), np.int32)[[0, 1, 3, 4]]
            scale = max(int(abs(matrix).max()), 1)
            a, b, c, d = (int(round(value / scale, 2) * 100) for value in matrix.tolist())
            if {abs(a), abs(b), abs(c), abs(d)} <= {0, 100}:
                return (a // 100, b // 100, c // 100, d // 100)
            return (2, 2, 2, 2)
    return None


def _graph(frame: av.VideoFrame, turn: Turn) -> av.filter.Graph:
    graph = av.filter.Graph()
    nodes = [
        graph.add_buffer(
            template=None,
            format=frame.format,
            width=frame.width,
            height=frame.height,
            time_base=frame.time_base,
        )
    ]
    nodes += [graph.add(name, arguments) for name, arguments in TURNS[turn]]
    nodes.append(graph.add("buffersink"))
    for before, after in zip(nodes, nodes[1:], strict=False):
        before.link_to(after)
    graph.configure()
    return graph
