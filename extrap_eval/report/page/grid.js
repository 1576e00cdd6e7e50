// Problems × samples, coloured by what each sample amounts to at the budget.
function problemGrid(root, { onOpen }) {
  const part = (name) => root.querySelector(`[data-part="${name}"]`);
  const body = part("cells");
  let run = null;
  let budget = 0;
  let cells = []; // by problem and sample
  let rows = [];
  let classes = [];

  function build(of) {
    run = of;
    const nodes = document.createDocumentFragment();
    cells = [];
    rows = run.problems.map((problem, p) => {
      const row = make("div", { class: "row", role: "row", "data-problem": p });
      const head = make("span", { class: "head", role: "rowheader", title: problem.text.slice(0, 300) }, make("span", { class: "id" }, problem.id), make("span", { class: "share" }));
      const line = make("span", { class: "line" });
      for (let s = 0; s < run.n; s++) {
        const cell = make("button", { type: "button", role: "gridcell", class: "cell", tabindex: "-1", "data-at": p * run.n + s });
        cells.push(cell);
        line.append(cell);
      }
      row.append(head, line);
      nodes.append(row);
      return row;
    });
    classes = new Array(cells.length).fill("");
    if (cells.length) cells[0].tabIndex = 0;
    body.replaceChildren(nodes);
  }

  function colour() {
    const byOutcome = part("colour").value === "outcome";
    const counts = new Array(DATA.outcomes.length).fill(0);
    const shares = new Array(run.problems.length).fill(0);
    let at = 0;
    for (let p = 0; p < run.problems.length; p++) {
      for (let s = 0; s < run.n; s++, at++) {
        const now = standing(run, p, s, budget);
        counts[now.outcome]++;
        shares[p] += now.kind === "right";
        const name = byOutcome ? `cell o-${DATA.outcomes[now.outcome]}` : `cell ${now.kind}`;
        if (name === classes[at]) continue;
        classes[at] = name;
        const said = byOutcome ? DATA.outcomes[now.outcome].replaceAll("-", " ") : WORDS[now.kind];
        cells[at].className = name;
        cells[at].title = `${run.problems[p].id}, sample ${s}: ${said}`;
        cells[at].setAttribute("aria-label", cells[at].title);
      }
    }
    rows.forEach((row, p) => (row.querySelector(".share").textContent = `${shares[p]}/${run.n}`));
    const total = shares.reduce((sum, share) => sum + share, 0);
    part("summary").replaceChildren(
      make("b", {}, `pass@1 ${percent(total / cells.length)}`),
      ` at ${grouped(budget)} tokens: ${grouped(total)} of ${grouped(cells.length)} samples are right`,
    );
    part("bar").replaceChildren(...counts.map((count, code) => count ? make("span", { class: `o-${DATA.outcomes[code]}`, style: `flex-grow:${count}`, title: `${DATA.outcomes[code]}: ${count}` }) : null).filter(Boolean));
    part("legend").replaceChildren(...counts.map((count, code) => make("span", { class: "key" }, make("i", { class: `o-${DATA.outcomes[code]}` }), `${DATA.outcomes[code].replaceAll("-", " ")} ${percent(count / cells.length)}`)));
    order(shares);
  }

  function order(shares) {
    const wanted = rows.map((_, p) => p);
    const by = part("order").value;
    if (by !== "benchmark") wanted.sort((a, b) => (by === "hardest" ? shares[a] - shares[b] : shares[b] - shares[a]) || a - b);
    if (wanted.some((p, i) => body.children[i] !== rows[p])) body.append(...wanted.map((p) => rows[p]));
  }

  function move(from, step) {
    const lines = [...body.children];
    const row = from.closest(".row");
    const s = Number(from.dataset.at) % run.n;
    const line = lines.indexOf(row);
    const to = { ArrowRight: [line, s + 1], ArrowLeft: [line, s - 1], ArrowDown: [line + 1, s], ArrowUp: [line - 1, s], Home: [line, 0], End: [line, run.n - 1] }[step];
    const target = lines[to[0]]?.querySelectorAll(".cell")[to[1]];
    if (!target) return;
    from.tabIndex = -1;
    target.tabIndex = 0;
    target.focus();
  }

  body.addEventListener("click", (event) => {
    const cell = event.target.closest(".cell");
    if (cell) onOpen(Math.floor(cell.dataset.at / run.n), cell.dataset.at % run.n);
  });
  body.addEventListener("keydown", (event) => {
    if (!event.target.matches(".cell") || !/^(Arrow|Home|End)/.test(event.key)) return;
    event.preventDefault();
    event.stopPropagation();
    move(event.target, event.key);
  });
  part("colour").addEventListener("change", colour);
  part("order").addEventListener("change", colour);

  return {
    show: (of, tokens) => {
      budget = tokens;
      if (of !== run) build(of);
      colour();
    },
  };
}
