// BD-rate against operations a pixel: compression per operation.

function complexityPicture() {
  const section = document.getElementById("complexity");
  const rows = content.comparisons.filter((row) => row.clip === content.mean);
  const counted = Object.values(content.complexity).some((cost) => cost.decode_kmac || cost.encode_kmac);
  if (!counted || !rows.length) {
    section.querySelectorAll(".controls, .chart, p").forEach((part) => part.remove());
    section.append(el("p", { class: "soft" }, "No codec's operations were counted, or there is no anchor: nothing to draw."));
    return;
  }
  const anchors = [...new Set(rows.map((row) => row.anchor))];
  const metrics = [...new Set(rows.map((row) => row.metric))];
  const state = { anchor: anchors[0], metric: metrics[0], side: "decode_kmac" };
  const plan = () => {
    const own = rows.filter((row) => row.anchor === state.anchor && row.metric === state.metric && row.bd_rate_percent !== null);
    const series = [{ codec: state.anchor, bd_rate_percent: 0 }, ...own].map((row) => complexitySeries(row, state));
    return {
      label: `BD-rate against ${state.anchor} over operations a pixel`,
      x: { title: `kMAC per pixel to ${state.side === "decode_kmac" ? "decode" : "encode"} (log)`, log: true, include: [1, 1000] },
      y: { title: `BD-rate in %, ${content.metrics[state.metric].title}, better ↓`, include: [0] },
      series,
    };
  };
  const one = chart(document.getElementById("complexity-chart"), plan);
  const change = (name) => (value) => { state[name] = value; one.draw(); };
  document.getElementById("complexity-controls").append(
    select("Anchor", anchors.map((name) => [name, name]), state.anchor, change("anchor")).element,
    select("Metric", metrics.map((name) => [name, content.metrics[name].title]), state.metric, change("metric")).element,
    select("Side", [["decode_kmac", "decoding"], ["encode_kmac", "encoding"]], state.side, change("side")).element,
  );
}

function complexitySeries(row, state) {
  const index = content.codecs.indexOf(row.codec);
  const kmac = content.complexity[row.codec]?.[state.side];
  if (!kmac) return { name: row.codec, index, points: [], level: row.bd_rate_percent };
  const text = `${row.codec}\n${number(kmac)} kMAC per pixel\nBD-rate ${signed(row.bd_rate_percent)} % against ${state.anchor}`;
  return { name: row.codec, index, named: true, line: false, radius: 7, points: [{ x: kmac, y: row.bd_rate_percent, text }] };
}

complexityPicture();
