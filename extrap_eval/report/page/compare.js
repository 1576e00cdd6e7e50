// Two models problem by problem: first those that one solves and the other does not, the largest difference first.
function comparison(root, { onOpen }) {
  const part = (name) => root.querySelector(`[data-part="${name}"]`);
  const body = part("flips");
  const [first, second] = DATA.runs;
  const rows = [];

  function strip(side, p) {
    const run = DATA.runs[side];
    const cells = [];
    for (let s = 0; s < run.n; s++) cells.push(make("button", { type: "button", class: "cell", "data-side": side, "data-problem": p, "data-sample": s }));
    return make("td", {}, make("div", { class: "line" }, ...cells));
  }

  first.problems.forEach((problem, p) => {
    const words = make("div", { class: "excerpt" });
    appendText(words, problem.text.slice(0, 160));
    rows.push(make("tr", { "data-problem": p }, make("th", { scope: "row" }, problem.id, words), strip(0, p), make("td", { class: "number" }), strip(1, p), make("td", { class: "number" }), make("td", { class: "number" }), make("td", { class: "flip" })));
  });

  function show(budget) {
    const found = rows.map((row, p) => {
      const shares = [shareRight(first, p, budget), shareRight(second, p, budget)];
      const flip = shares[0] >= 0.5 !== shares[1] >= 0.5;
      const cells = row.children;
      for (const cell of row.querySelectorAll(".cell")) {
        const side = Number(cell.dataset.side);
        const kind = standing(DATA.runs[side], p, Number(cell.dataset.sample), budget).kind;
        cell.className = `cell ${kind}`;
        cell.title = `${DATA.runs[side].name}, sample ${cell.dataset.sample}: ${WORDS[kind]}`;
        cell.setAttribute("aria-label", cell.title);
      }
      cells[2].textContent = percent(shares[0]);
      cells[4].textContent = percent(shares[1]);
      cells[5].textContent = `${shares[0] >= shares[1] ? "+" : "−"}${(100 * Math.abs(shares[0] - shares[1])).toFixed(1)}`;
      cells[6].textContent = flip ? `only ${(shares[0] > shares[1] ? first : second).name}` : "";
      row.classList.toggle("flipped", flip);
      return { row, p, flip, size: Math.abs(shares[0] - shares[1]) };
    });
    found.sort((a, b) => b.flip - a.flip || b.size - a.size || a.p - b.p);
    body.append(...found.map((each) => each.row));
    const flips = found.filter((each) => each.flip).length;
    part("summary").replaceChildren(make("b", {}, `${flips} of ${rows.length} problems flip`), ` at ${grouped(budget)} tokens: one model answers at least half of its samples right, the other fewer`);
  }

  body.addEventListener("click", (event) => {
    const cell = event.target.closest(".cell");
    if (cell) onOpen(Number(cell.dataset.problem), Number(cell.dataset.side), Number(cell.dataset.sample));
  });
  return { show };
}
