// One completion: its text with episodes and boxes, cut at the budget; what was asked of it; a search in it.
const BLOCK = 1500; // characters from which on a block ends with a paragraph
const LONG_BLOCK = 6000; // a longer one is divided at a line break
const MOST_HITS = 5000;

// Text[start, end) in blocks of whole paragraphs, the line breaks behind a paragraph with it.
function blocksOf(text, start, end) {
  const found = [];
  while (start < end) {
    let stop = text.indexOf("\n\n", Math.min(start + BLOCK, end));
    stop = stop < 0 || stop >= end ? end : stop + 2;
    while (stop < end && text[stop] === "\n") stop++;
    if (stop - start > LONG_BLOCK) {
      const line = text.lastIndexOf("\n", start + LONG_BLOCK);
      if (line > start) stop = line + 1;
    }
    found.push([start, stop]);
    start = stop;
  }
  return found;
}

// The index of the last of ascending values that is at most the given one, -1 for none.
function lastUpTo(values, value) {
  let low = -1;
  let high = values.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (values[middle] <= value) low = middle;
    else high = middle - 1;
  }
  return low;
}

// A pane with one trace. `onBudget(tokens)` is called when its slider is moved, `onSample(sample)` for another sample.
function tracePane(root, { onBudget, onSample }) {
  const part = (name) => root.querySelector(`[data-part="${name}"]`);
  const scroller = part("text");
  const slider = part("slider");
  let shown = null; // {run, problem, sample, record, sums, blocks, starts}
  let cut = Infinity; // characters within the budget
  let cutBlock = -1;
  let budget = Infinity;
  let math = true;
  let hits = [];
  let hit = -1;
  let asked = 0; // counts requests, so that an answer that comes late is not shown

  const near = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        const block = shown?.blocks[entry.target.dataset.block];
        near.unobserve(entry.target);
        if (block?.element === entry.target) {
          block.near = true;
          if (math && formulasOf(block).length) fill(block);
        }
      }
    },
    { root: scroller, rootMargin: "400px 0px" },
  );

  function formulasOf(block) {
    block.formulas ??= formulasIn(shown.record.text, block.start, block.end, block.boxes.map((box) => [box[0], box[1]]));
    return block.formulas;
  }

  // The nodes of a block, from scratch.
  function fill(block) {
    const nodes = document.createDocumentFragment();
    const ours = hits.filter((each) => each[0] < block.end && each[1] > block.start);
    let from = block.start;
    for (const each of math && block.near ? formulasOf(block) : []) {
      // A formula that the budget cuts, or in which something was found, is shown as it was written.
      if ((each.start < cut && cut < each.end) || ours.some((found) => found[0] < each.end && found[1] > each.start)) continue;
      if (each.drawn === undefined) each.drawn = formula(each.tex, each.display);
      const drawn = each.drawn;
      if (drawn === null) continue;
      const box = block.boxes.findLast((other) => other[0] < each.end && other[1] > each.start);
      drawn.className = `formula${box ? ` box ${kindOfBox(shown, box)}` : ""}${each.start >= cut ? " beyond" : ""}`;
      drawn.title = each.tex;
      pieces(nodes, block, from, each.start, ours);
      nodes.append(drawn);
      from = each.end;
    }
    pieces(nodes, block, from, block.end, ours);
    block.element.replaceChildren(nodes);
  }

  // Text[from, to) as written, in spans wherever a box, a hit or the budget begins or ends.
  function pieces(nodes, block, from, to, ours) {
    const edges = [from, to, cut, ...block.boxes.flatMap((box) => [box[0], box[1]]), ...ours.flat()];
    const borders = [...new Set(edges.filter((edge) => edge >= from && edge <= to))].sort((a, b) => a - b);
    for (let i = 0; i + 1 < borders.length; i++) {
      const [start, end] = [borders[i], borders[i + 1]];
      const box = block.boxes.findLast((each) => each[0] <= start && end <= each[1]);
      const found = ours.findIndex((each) => each[0] <= start && end <= each[1]);
      const names = [];
      if (box) names.push("box", kindOfBox(shown, box));
      if (start >= cut) names.push("beyond");
      let target = nodes;
      if (names.length || found >= 0) {
        target = make(found >= 0 ? "mark" : "span", names.length ? { class: names.join(" ") } : {});
        if (found >= 0 && ours[found] === hits[hit]) target.classList.add("current");
        nodes.append(target);
      }
      appendText(target, shown.record.text.slice(start, end));
    }
  }

  function build() {
    const { record } = shown;
    near.disconnect();
    const fragment = document.createDocumentFragment();
    shown.blocks = [];
    for (const [name, start, end, fromToken, toToken] of record.sections) {
      const body = make("div", { class: "words" });
      for (const [from, to] of blocksOf(record.text, start, end)) {
        const element = make("div", { class: "block", "data-block": shown.blocks.length });
        const lines = record.text.slice(from, to).split("\n");
        const height = lines.reduce((sum, line) => sum + Math.max(1, Math.ceil(line.length / 120)), 0);
        element.style.containIntrinsicBlockSize = `auto ${1.5 * height}em`; // until it is laid out
        const boxes = record.boxes.filter((box) => box[0] < to && box[1] > from);
        shown.blocks.push({ start: from, end: to, element, boxes, near: false, formulas: null });
        body.append(element);
      }
      const label = make("div", { class: "label" }, make("b", {}, name), ` ${grouped(toToken - fromToken)} tokens`);
      fragment.append(make("section", { class: name.startsWith("episode") ? "part episode" : "part" }, label, body));
    }
    shown.starts = shown.blocks.map((block) => block.start);
    hits = [];
    hit = -1;
    setCut(true);
    scroller.replaceChildren(fragment);
    scroller.scrollTop = 0;
    for (const block of shown.blocks) near.observe(block.element);
  }

  // Grey out what lies beyond the budget; only the blocks between the old cut and the new one change.
  function setCut(all) {
    const { record, blocks, sums } = shown;
    const tokens = Math.min(budget, record.units.length);
    cut = tokens >= record.units.length ? Infinity : sums[tokens];
    const at = cut === Infinity ? blocks.length : lastUpTo(shown.starts, cut);
    const [first, last] = all ? [0, blocks.length - 1] : [Math.min(at, cutBlock), Math.max(at, cutBlock)];
    for (let i = Math.max(first, 0); i <= Math.min(last, blocks.length - 1); i++) {
      blocks[i].element.classList.toggle("beyond", i > at);
      if (all || i === at || i === cutBlock) fill(blocks[i]);
    }
    cutBlock = at;
  }

  function status() {
    const { run, problem, sample, record } = shown;
    const tokens = Math.min(budget, record.units.length);
    const now = standing(run, problem, sample, budget);
    const answer = now.answer < 0 ? null : run.problems[problem].answers[now.answer][0];
    const box = record.boxes.findLast((each) => each[2] <= tokens && each[3] === now.answer);
    part("status").replaceChildren(
      make("span", { class: "tokens" }, `${grouped(tokens)} of ${grouped(record.units.length)} tokens: `),
      verdictMark(now.kind),
      ...(answer === null ? [] : [" ", inCode(answer)]),
      ...(box && answer !== null ? [make("span", { class: "soft" }, ` boxed at token ${grouped(box[2])}`)] : []),
      make("span", { class: "soft" }, ` · ${DATA.outcomes[now.outcome].replaceAll("-", " ")}`),
    );
    slider.value = tokens;
    slider.setAttribute("aria-valuetext", part("status").textContent);
    part("marks").style.setProperty("--at", record.units.length ? tokens / record.units.length : 1);
  }

  function heading() {
    const { run, problem, sample } = shown;
    part("name").textContent = `${run.name} · sample ${sample}`;
    const strip = [];
    for (let other = 0; other < run.n; other++) {
      strip.push(make("button", { type: "button", class: "cell", "data-sample": other, title: `sample ${other}`, "aria-current": other === sample ? "true" : null, onclick: () => onSample(other) }));
    }
    part("strip").replaceChildren(...strip);
    colourStrip();
    part("problem").replaceChildren(
      make("summary", {}, make("b", {}, `Problem ${run.problems[problem].id}`), " · reference ", inCode(run.problems[problem].gold)),
      prose(make("div", { class: "prose" }), run.problems[problem].text),
    );
  }

  function colourStrip() {
    const { run, problem } = shown;
    [...part("strip").children].forEach((cell, other) => {
      const kind = standing(run, problem, other, budget).kind;
      cell.className = `cell ${kind}`;
      cell.setAttribute("aria-label", `sample ${other}, ${WORDS[kind]}`);
    });
  }

  // `follow`: bring the cut into view.
  async function show(run, problem, sample, follow) {
    const number = ++asked;
    const place = { run, problem, sample };
    root.setAttribute("aria-busy", "true");
    let record;
    try {
      record = await traceRecord(run, problem, sample);
    } catch (error) {
      if (number === asked) {
        shown = null;
        scroller.replaceChildren(make("p", { class: "failure" }, error.message));
        root.removeAttribute("aria-busy");
      }
      return;
    }
    if (number !== asked) return;
    const sums = new Int32Array(record.units.length + 1);
    record.units.forEach((unit, i) => (sums[i + 1] = sums[i] + unit));
    shown = { ...place, record, sums };
    slider.max = record.units.length;
    heading();
    build();
    drawMarks(part("marks"), shown);
    drawAsides(part("asides"), shown.record);
    status();
    if (part("search").value) search(part("search").value);
    if (follow && cut !== Infinity) toCut();
    root.dataset.shown = `${problem}/${sample}`;
    root.removeAttribute("aria-busy");
  }

  // `follow`: bring the cut into view, when it was the slider that moved.
  function setBudget(tokens, follow) {
    budget = tokens;
    if (!shown) return;
    setCut(false);
    status();
    colourStrip();
    if (follow) toCut();
  }

  function toCut() {
    const element = shown.blocks[Math.min(cutBlock, shown.blocks.length - 1)]?.element;
    const seam = element?.querySelector(".beyond") ?? element;
    if (seam) scroller.scrollTop += seam.getBoundingClientRect().top - scroller.getBoundingClientRect().top - scroller.clientHeight / 2;
  }

  function search(text) {
    const before = new Set(hits.map(blockOf));
    hits = [];
    hit = -1;
    const wanted = text.toLowerCase();
    const folded = shown && wanted ? shown.record.text.toLowerCase() : "";
    // Lower case may have another length in a few scripts; then only exact matches are found.
    const where = folded.length === shown?.record.text.length ? folded : (shown?.record.text ?? "");
    const what = where === folded ? wanted : text;
    for (let at = what ? where.indexOf(what) : -1; at >= 0 && hits.length < MOST_HITS; at = where.indexOf(what, at + what.length)) {
      hits.push([at, at + what.length]);
    }
    for (const block of new Set([...before, ...hits.map(blockOf)])) fill(shown.blocks[block]);
    toHit(1);
  }

  const blockOf = (found) => lastUpTo(shown.starts, found[0]);

  function toHit(step) {
    part("hits").textContent = part("search").value ? "nothing found" : "";
    if (!hits.length) return;
    const old = hit;
    hit = (hit + step + hits.length) % hits.length;
    for (const each of new Set([old, hit])) if (each >= 0) fill(shown.blocks[blockOf(hits[each])]);
    part("hits").textContent = `${hit + 1} of ${hits.length}${hits.length === MOST_HITS ? " or more" : ""}`;
    scroller.querySelector("mark.current")?.scrollIntoView({ block: "center" });
  }

  slider.addEventListener("input", () => onBudget(Number(slider.value)));
  part("search").addEventListener("input", () => shown && search(part("search").value));
  part("search").addEventListener("keydown", (event) => {
    if (event.key === "Enter") toHit(event.shiftKey ? -1 : 1);
    if (event.key === "Escape") scroller.focus();
  });
  part("up").addEventListener("click", () => toHit(-1));
  part("down").addEventListener("click", () => toHit(1));
  new ResizeObserver(() => shown && drawMarks(part("marks"), shown)).observe(part("marks"));

  return {
    show,
    setBudget,
    toHit,
    focusSearch: () => part("search").focus(),
    setMath: (on) => {
      math = on;
      shown?.blocks.forEach(fill);
    },
    // The next or previous token at which a box ends, from the budget on; null where there is none.
    nextBox: (step) => {
      const ends = [...new Set((shown?.record.boxes ?? []).map((box) => box[2]))];
      const at = Math.min(budget, shown?.record.units.length ?? 0);
      return (step > 0 ? ends.find((end) => end > at) : ends.findLast((end) => end < at)) ?? null;
    },
  };
}
