// Figures of classes, counted from the samples of the page.

const LOW = 1; // Correct-Low among the quadrants

// Wilson's 95 % interval of a rate.
function wilson(count, total) {
  if (!total) return null;
  const z2 = 1.959963984540054 ** 2, rate = count / total;
  const centre = (rate + z2 / (2 * total)) / (1 + z2 / total);
  const half = Math.sqrt(z2 * (rate * (1 - rate) / total + z2 / (4 * total * total))) / (1 + z2 / total);
  return [count ? centre - half : 0, count === total ? 1 : centre + half];
}

// Numbers of the samples of each round.
function samplesByRound() {
  page.byRound ??= page.samples.round.reduce((all, round, i) => {
    all[round].push(i);
    return all;
  }, page.rounds.map(() => []));
  return page.byRound;
}

function countClass(name, own) {
  const s = page.samples, counts = page.quadrants.map(() => 0);
  let sum = 0;
  for (const i of own) {
    if (has(s.quadrant[i])) {
      counts[s.quadrant[i]] += 1;
      sum += s.score[i];
    }
  }
  const judged = counts.reduce((a, b) => a + b, 0);
  return { name, probes: own.length, judged, counts, rates: counts.map((n) => (judged ? n / judged : null)),
    intervals: counts.map((n) => wilson(n, judged)), score: judged ? sum / judged : null };
}

// What was estimated of a class where not all of a round was judged: it comes with the page.
function estimateOf(round, name) {
  return round.classes && Object.hasOwn(round.classes, name) ? round.classes[name] : null;
}

// The true classes of a round, worst Correct-Low first.
function classesOf(round) {
  const members = new Map();
  for (const i of samplesByRound()[page.rounds.indexOf(round)]) {
    const label = page.samples.label[i];
    if (!members.has(label)) members.set(label, []);
    members.get(label).push(i);
  }
  return [...members].map(([label, own]) => ({ ...countClass(page.texts[label], own), ...estimateOf(round, page.texts[label]) }))
    .sort((a, b) => (b.rates[LOW] ?? 0) - (a.rates[LOW] ?? 0) || b.counts[LOW] - a.counts[LOW] || (a.name < b.name ? -1 : 1));
}

// Correct-Low of each class over the rounds of the curve, with its interval; null where none was judged.
function classSeries() {
  if (page.series) return page.series;
  const counted = new Map();
  page.curve.forEach((round, at) => {
    for (const i of samplesByRound()[round]) {
      if (!has(page.samples.quadrant[i])) continue;
      const name = page.texts[page.samples.label[i]];
      if (!counted.has(name)) counted.set(name, page.curve.map(() => [0, 0]));
      const of = counted.get(name)[at];
      of[1] += 1;
      if (page.samples.quadrant[i] === LOW) of[0] += 1;
    }
  });
  page.series = new Map([...counted].map(([name, of]) => [name, of.map(([low, judged], at) => {
    if (!judged) return null;
    const told = estimateOf(page.rounds[page.curve[at]], name);
    return told ? { rate: told.rates[LOW], ends: told.intervals[LOW] } : { rate: low / judged, ends: wilson(low, judged) };
  })]));
  return page.series;
}

// A class's Correct-Low over the rounds, small: from 0 to 1, a gap where nothing was judged.
function sparkline(name) {
  const of = classSeries().get(name) ?? [], width = 76, height = 20, last = Math.max(1, of.length - 1);
  const rates = of.map((at) => at?.rate ?? null);
  const x = (i) => 2 + (i / last) * (width - 6), y = (rate) => height - 3 - rate * (height - 6);
  const told = rates.filter(has);
  const root = svg("svg", { class: "spark correct_low", width, height, viewBox: `0 0 ${width} ${height}`, role: "img",
    "aria-label": told.length ? `Correct-Low from ${decimals(told[0])} to ${decimals(told.at(-1))}, at most ${decimals(Math.max(...told))}` : "never judged" },
    svg("line", { class: "grid", x1: 2, x2: width - 4, y1: y(0), y2: y(0) }));
  for (const run of unbroken(rates.map((_, i) => i), rates))
    if (run.length > 1) root.append(svg("path", { class: "line", d: "M" + run.map((i) => `${x(i).toFixed(1)},${y(rates[i]).toFixed(1)}`).join("L") }));
  const end = rates.findLastIndex(has);
  if (end >= 0) root.append(svg("circle", { class: "dot", cx: x(end), cy: y(rates[end]), r: 2.2 }));
  return root;
}
