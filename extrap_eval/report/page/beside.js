// What stands beside the text of a trace: the picture above its slider, probes along it, extensions of it.
function kindOfBox({ run, problem }, box) {
  return box[3] < 0 ? "none" : kindOf(run.problems[problem].answers[box[3]][1]);
}

function inCode(text) {
  const element = make("code");
  appendText(element, text);
  return element;
}

function answersLine(answers) {
  const line = make("span");
  answers.forEach(([text, verdict, count], i) => {
    const kind = text === null ? "none" : kindOf(verdict);
    line.append(i ? ", " : "", make("span", { class: `verdict ${kind}` }, SIGNS[kind]), " ");
    line.append(text === null ? "no answer" : inCode(text), count > 1 ? ` ×${count}` : "");
  });
  return line;
}

const rightShare = (answers) =>
  answers.reduce((sum, [, verdict, count]) => sum + (verdict === CORRECT ? count : 0), 0) /
  answers.reduce((sum, [, , count]) => sum + count, 0);

// Above the slider: episodes, boxes, the training budget, and the accuracy of probes along the trace.
function drawMarks(place, trace) {
  const { run, record } = trace;
  const length = Math.max(record.units.length, 1);
  const wide = Math.max(place.clientWidth - 16, 100); // the slider's knob keeps 8 px on both sides
  const x = (tokens) => 8 + (wide * Math.min(tokens, length)) / length;
  const svg = (tag, attributes, title) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (title) element.append(Object.assign(document.createElementNS("http://www.w3.org/2000/svg", "title"), { textContent: title }));
    return element;
  };
  const probes = record.probes ?? [];
  const top = probes.length ? 44 : 4;
  const picture = svg("svg", { width: wide + 16, height: top + 18, role: "img", "aria-label": "where the trace says what" });
  record.sections.forEach(([name, , , from, to], i) => {
    const kind = name.startsWith("episode") ? `episode ${i % 2 ? "odd" : "even"}` : "other";
    const width = Math.max(x(to) - x(from), 0.5);
    picture.append(svg("rect", { class: kind, x: x(from), y: top, width, height: 16 }, `${name}: tokens ${grouped(from)} to ${grouped(to)}`));
  });
  if (run.training && run.training < length) {
    picture.append(svg("line", { class: "training", x1: x(run.training), x2: x(run.training), y1: 0, y2: top + 18 }, `trained to ${grouped(run.training)} tokens`));
  }
  for (const box of record.boxes.slice(-2000)) {
    const title = `a box ends at token ${grouped(box[2])}: ${WORDS[kindOfBox(trace, box)]}`;
    picture.append(svg("rect", { class: `mark ${kindOfBox(trace, box)}`, x: x(box[2]) - 1.5, y: top - 2, width: 3, height: 20 }, title));
  }
  if (probes.length) {
    for (const [share, y] of [[1, 4], [0, 38]]) {
      picture.append(svg("line", { class: "scale", x1: 8, x2: wide + 8, y1: y, y2: y }));
      const label = svg("text", { x: wide + 6, y: y + (share ? 11 : -3), "text-anchor": "end" });
      label.textContent = share ? "probes: 100 % right" : "0 %";
      picture.append(label);
    }
  }
  for (const { points, unit } of probes) {
    const at = points.map(([tokens, , answers]) => [x(tokens), 4 + 34 * (1 - rightShare(answers))]);
    picture.append(svg("polyline", { class: "probe", points: at.map((each) => each.join(",")).join(" ") }));
    points.forEach(([tokens, number, answers], i) => {
      const title = `asked at token ${grouped(tokens)} (${unit}: ${grouped(number)}): ${percent(rightShare(answers))} right`;
      picture.append(svg("circle", { class: "probe", cx: at[i][0], cy: at[i][1], r: 3.5 }, title));
    });
  }
  place.replaceChildren(picture);
}

// Probes and extensions as lists.
function drawAsides(place, record) {
  const lists = [];
  for (const { variant, unit, points } of record.probes ?? []) {
    const rows = points.map(([tokens, number, answers]) =>
      make("tr", {}, make("td", {}, grouped(number)), make("td", {}, grouped(tokens)), make("td", {}, percent(rightShare(answers))), make("td", {}, answersLine(answers))));
    const head = make("tr", {}, ...[unit, "tokens", "right", "answers"].map((name) => make("th", { scope: "col" }, name)));
    lists.push(make("details", {}, make("summary", {}, `Asked along the way: ${points.length} probes (${variant})`), make("div", { class: "scroll" }, make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows)))));
  }
  for (const { variant, answers, pieces: said } of record.forcing ?? []) {
    const items = [];
    for (const [w, tokens, given, fate, carried] of answers) {
      items.push(make("p", { class: `fate ${fate ?? ""}` }, make("b", {}, w ? `after ${w} extension${w > 1 ? "s" : ""}` : "as it ended"), ` (${grouped(tokens)} tokens): `, answersLine(given), fate ? make("span", { class: "soft" }, ` · ${fate.replaceAll("_", " ")}${carried ? ", could not be extended further" : ""}`) : ""));
      const next = said.find((piece) => piece[0] === w + 1);
      if (next) items.push(make("blockquote", {}, make("b", {}, next[1]), prose(make("span"), next[2])));
    }
    for (const [w, string, text] of said.filter((piece) => !answers.some(([after]) => after + 1 === piece[0]))) {
      items.push(make("blockquote", {}, make("b", {}, `${w}. ${string}`), prose(make("span"), text)));
    }
    lists.push(make("details", { class: "extensions" }, make("summary", {}, `Extended by force ${said.length} times (${variant})`), ...items));
  }
  place.replaceChildren(...lists);
}
