// The index, what it says about a sample at a budget, and the traces, which are loaded when they are wanted.
const DATA = JSON.parse(document.getElementById("index").textContent);
const NONCE = document.currentScript.nonce;
const CORRECT = DATA.verdicts.indexOf("correct");
const TIMEOUT = DATA.verdicts.indexOf("timeout");
const KEPT_CHUNKS = 12;

// The last entry at or below the budget of a sample's steps [tokens, answer, outcome, tokens, ...], which begin at 0.
function stepAt(steps, budget) {
  let low = 0;
  let high = steps.length / 3 - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (steps[3 * middle] <= budget) low = middle;
    else high = middle - 1;
  }
  return 3 * low;
}

function kindOf(verdict) {
  return verdict === CORRECT ? "right" : verdict === TIMEOUT ? "timeout" : verdict < 0 ? "none" : "wrong";
}

// What a sample amounts to at a budget: its answer (index into the problem's, -1 for none), whether that is right.
function standing(run, problem, sample, budget) {
  const steps = run.steps[problem * run.n + sample];
  const at = stepAt(steps, budget);
  const answer = steps[at + 1];
  const verdict = answer < 0 ? -1 : run.problems[problem].answers[answer][1];
  return { answer, kind: kindOf(verdict), outcome: steps[at + 2] };
}

function shareRight(run, problem, budget) {
  let right = 0;
  for (let sample = 0; sample < run.n; sample++) right += standing(run, problem, sample, budget).kind === "right";
  return right / run.n;
}

const chunks = new Map(); // number -> promise of its records, the last used last
const waiting = new Map(); // number -> what to call with a chunk that has arrived

window.reportChunk = (number, packed) => waiting.get(number)(packed);

function packedChunk(number) {
  const inside = document.getElementById(`chunk-${number}`);
  if (inside) return Promise.resolve(inside.textContent);
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    waiting.set(number, (packed) => {
      waiting.delete(number);
      script.remove();
      resolve(packed);
    });
    script.nonce = NONCE;
    script.src = `${DATA.folder}${number}.js`;
    script.onerror = () => {
      waiting.delete(number);
      script.remove();
      reject(new Error(`cannot load ${decodeURIComponent(script.getAttribute("src"))}: keep that folder beside this page`));
    };
    document.head.append(script);
  });
}

async function unpacked(number) {
  const packed = await packedChunk(number);
  const binary = atob(packed);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

async function traceRecord(run, problem, sample) {
  const [number, place] = run.places[problem * run.n + sample];
  const known = chunks.get(number) ?? unpacked(number);
  chunks.delete(number);
  chunks.set(number, known);
  if (chunks.size > KEPT_CHUNKS) chunks.delete(chunks.keys().next().value);
  try {
    return (await known)[place];
  } catch (error) {
    chunks.delete(number);
    throw error;
  }
}
