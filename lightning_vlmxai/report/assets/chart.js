// Lines over rounds: an interval's band, gaps where there is no value, names at the ends.

const SHAPES = [
  (x, y) => `M${x - 3.5},${y}a3.5,3.5 0 1,0 7,0a3.5,3.5 0 1,0 -7,0`,
  (x, y) => `M${x},${y - 4.5}L${x + 4.2},${y + 3.2}H${x - 4.2}Z`,
  (x, y) => `M${x - 3.2},${y - 3.2}h6.4v6.4h-6.4Z`,
  (x, y) => `M${x},${y - 4.6}L${x + 4.6},${y}L${x},${y + 4.6}L${x - 4.6},${y}Z`,
];
const DASHES = [null, null, "6 3", "2 3"];

// Runs of neighbours that all have a value: a gap is never bridged.
function unbroken(xs, values) {
  const runs = [];
  values.forEach((value, i) => {
    if (!has(value)) return;
    const isNext = i && has(values[i - 1]) && xs[i] - xs[i - 1] <= 1;
    if (isNext) runs.at(-1).push(i);
    else runs.push([i]);
  });
  return runs;
}

function ticksOf(first, last, most) {
  const step = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10000].find((s) => (last - first) / s <= most) ?? last;
  const ticks = [];
  for (let t = Math.ceil(first / step) * step; t <= last; t += step) ticks.push(t);
  return ticks;
}

/* options: title, note, xs, names (of the points), series [{name, long, cls, shape, values, band}],
   top, height, tell(value) -> text, picked() -> index or null, onpick(index) */
function lineChart(options) {
  const figure = h("figure", { class: "chart" },
    h("figcaption", null, options.title, " ", h("small", null, options.note ?? "")));
  const holder = h("div", {
    tabindex: options.onpick ? "0" : null, role: "img",
    "aria-label": `${options.title}. ` + options.series.map((of) => describeSeries(of, options.tell)).join("; "),
  });
  const tip = h("div", { class: "tip", hidden: true });
  figure.append(holder, tip);
  let hover = null;
  const draw = () => {
    const width = holder.clientWidth;
    if (width) holder.replaceChildren(drawChart(options, width, hover));
  };
  const nearest = (event) => {
    const box = holder.getBoundingClientRect();
    const { x } = scales(options, box.width);
    let best = null;
    options.xs.forEach((value, i) => {
      const distance = Math.abs(x(value) - (event.clientX - box.left));
      if (best === null || distance < best[0]) best = [distance, i];
    });
    return best?.[1] ?? null;
  };
  holder.addEventListener("pointermove", (event) => {
    hover = nearest(event);
    if (hover === null) return;
    draw();
    showTip(tip, options, hover, holder);
  });
  holder.addEventListener("pointerleave", () => {
    hover = null;
    tip.hidden = true;
    draw();
  });
  if (options.onpick) {
    holder.addEventListener("click", (event) => has(nearest(event)) && options.onpick(nearest(event)));
    holder.addEventListener("keydown", (event) => {
      const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!move) return;
      event.preventDefault();
      const at = (options.picked() ?? 0) + move;
      if (at >= 0 && at < options.xs.length) options.onpick(at);
    });
  }
  new ResizeObserver(draw).observe(holder);
  figure.redraw = draw;
  return figure;
}

function describeSeries(of, tell = decimals) {
  const last = of.values.findLastIndex(has);
  return `${of.long ?? of.name}: ` + (last < 0 ? "no value" : `last ${tell(of.values[last])}`);
}

function scales(options, width) {
  const left = 30, right = 36, top = 8, bottom = 22;
  const height = options.height ?? 170;
  const first = options.xs[0] ?? 0, last = options.xs.at(-1) ?? 1;
  const span = last - first || 1;
  return {
    left, top, height, first, last, end: width - right, floor: height - bottom,
    x: (value) => left + (last === first ? 0.5 : (value - first) / span) * (width - left - right),
    y: (value) => height - bottom - (value / options.top) * (height - bottom - top),
  };
}

function drawChart(options, width, hover) {
  const s = scales(options, width), { x, y } = s;
  const root = svg("svg", { height: s.height, viewBox: `0 0 ${width} ${s.height}`, "aria-hidden": "true" });
  const steps = options.top > 1 ? [0, 1, 2, 3, 4, 5] : [0, 0.25, 0.5, 0.75, 1];
  for (const value of steps) {
    root.append(svg("line", { class: "grid", x1: s.left, x2: s.end, y1: y(value), y2: y(value) }));
    root.append(svg("text", { class: "axis", x: s.left - 6, y: y(value) + 4, "text-anchor": "end" }, String(value)));
  }
  for (const value of ticksOf(s.first, s.last, Math.max(2, Math.floor(width / 60))))
    root.append(svg("text", { class: "axis", x: x(value), y: s.height - 4, "text-anchor": "middle" }, String(value)));
  const upright = (i, name) => svg("line", { class: name, x1: x(options.xs[i]), x2: x(options.xs[i]), y1: s.top, y2: s.floor });
  const picked = options.picked?.();
  if (has(picked) && picked >= 0) root.append(upright(picked, "picked"));
  for (const of of options.series) if (of.band) root.append(...drawBand(of, options.xs, x, y));
  for (const of of options.series) root.append(drawSeries(of, options.xs, x, y));
  root.append(...drawNames(options, s));
  if (has(hover)) root.append(upright(hover, "hover"));
  return root;
}

function drawBand(of, xs, x, y) {
  return unbroken(xs, of.band).map((run) => {
    const sides = run.length > 1 ? run.map((i) => [x(xs[i]), i]) : [[x(xs[run[0]]) - 4, run[0]], [x(xs[run[0]]) + 4, run[0]]];
    const upper = sides.map(([at, i]) => `${at},${y(of.band[i][1])}`);
    const lower = sides.map(([at, i]) => `${at},${y(of.band[i][0])}`).reverse();
    return svg("polygon", { class: `band ${of.cls}`, points: [...upper, ...lower].join(" ") });
  });
}

function drawSeries(of, xs, x, y) {
  const group = svg("g", { class: of.cls });
  const points = xs.filter((_, i) => has(of.values[i])).length;
  for (const run of unbroken(xs, of.values)) {
    const path = "M" + run.map((i) => `${x(xs[i])},${y(of.values[i])}`).join("L");
    if (run.length > 1) group.append(svg("path", { class: "line", d: path, "stroke-dasharray": of.dash ?? DASHES[of.shape] }));
    if (run.length === 1 || points <= 60)
      group.append(svg("path", { class: "mark", d: run.map((i) => SHAPES[of.shape](x(xs[i]), y(of.values[i]))).join("") }));
  }
  return group;
}

function drawNames(options, s) {
  const labels = options.series
    .map((of) => [of, of.values.findLastIndex(has)])
    .filter(([, last]) => last >= 0)
    .map(([of, last]) => ({ of, x: s.x(options.xs[last]) + 9, at: s.y(of.values[last]) + 4 }))
    .sort((a, b) => a.at - b.at);
  // Names that would lie on each other are pushed apart, then back up from the floor.
  const isBeside = (i) => i > 0 && Math.abs(labels[i].x - labels[i - 1].x) < 30;
  labels.forEach((label, i) => isBeside(i) && (label.at = Math.max(label.at, labels[i - 1].at + 13)));
  labels.reverse().forEach((label, i) => (label.at = Math.min(label.at, isBeside(i) ? labels[i - 1].at - 13 : s.floor + 4)));
  return labels.map(({ of, x, at }) => svg("g", { class: of.cls }, svg("text", { class: "name", x, y: at }, of.name)));
}

function showTip(tip, options, i, holder) {
  tip.replaceChildren(
    h("strong", null, options.names[i]),
    ...options.series.map((of) => h("div", { class: of.cls },
      h("span", null, of.long ?? of.name),
      h("span", null, has(of.values[i]) ? (options.tell ?? decimals)(of.values[i]) + (of.band?.[i] ? ` (${ends(of.band[i])})` : "") : "not judged"))),
  );
  tip.hidden = false;
  const at = scales(options, holder.clientWidth).x(options.xs[i]);
  const isRight = at > holder.clientWidth / 2;
  tip.style.top = `${holder.offsetTop + 8}px`;
  tip.style.left = isRight ? "auto" : `${at + 12}px`;
  tip.style.right = isRight ? `${holder.clientWidth - at + 12}px` : "auto";
}
