// Runs ONNX models in ONNX Runtime for bonnx's tests.
//
//   node run.mjs MODEL IN.npz OUT.npz [LEVEL]   one run; LEVEL is disabled, basic, extended or all
//   node run.mjs --serve                        requests as JSON lines on stdin, answers on stdout
//
// Requests ({"op": ...}; every answer is {...} or {"error": "..."}):
//   version   {}                                   -> {node, onnxruntime}
//   describe  {model, level?}                      -> {inputs: [{name, type, shape}], outputs: [...]}
//   run       {model, input, output, outputs?, level?, threads?}
//             arrays of the file input are fed by name; the outputs named (all
//             when none is) are written to the file output.
//   steps     {model, batches, state, output, carry: {OUTPUT: INPUT}, record?: [OUTPUT], level?, threads?}
//             every array of batches has a leading axis of steps and is fed one
//             slice per step; arrays of state are fed as they are; after each
//             step carried outputs replace their inputs. The file output gets
//             each recorded output stacked over the steps and, under the names
//             of their inputs, the carried values after the last step.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { readNpz, writeNpz } from './npz.mjs';

const require = createRequire(import.meta.url);
const ort = require('onnxruntime-node');

const ops = { version, describe, run, steps };

async function open({ model, level = 'all', threads = 1 }) {
  return ort.InferenceSession.create(model, {
    graphOptimizationLevel: level,
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    logSeverityLevel: 3,
  });
}

async function version() {
  return { node: process.versions.node, onnxruntime: require('onnxruntime-node/package.json').version };
}

async function describe(q) {
  const session = await open(q);
  try {
    const ports = (list) => list.map(({ name, type, shape }) => ({ name, type, shape: (shape ?? []).map(String) }));
    return { inputs: ports(session.inputMetadata), outputs: ports(session.outputMetadata) };
  } finally {
    await session.release();
  }
}

async function run(q) {
  const session = await open(q);
  try {
    const feeds = {};
    for (const [name, a] of readNpz(q.input)) feeds[name] = toTensor(a);
    const names = q.outputs?.length ? q.outputs : session.outputNames;
    const got = await session.run(feeds, names);
    writeNpz(q.output, Object.fromEntries(names.map((n) => [n, fromTensor(got[n])])));
    return {};
  } finally {
    await session.release();
  }
}

async function steps(q) {
  const session = await open(q);
  try {
    const batches = readNpz(q.batches);
    const feeds = {};
    for (const [name, a] of readNpz(q.state)) feeds[name] = toTensor(a);
    const count = [...batches.values()].reduce((n, a) => Math.min(n, a.dims[0]), Infinity);
    const carry = Object.entries(q.carry);
    const record = q.record ?? [];
    const seen = Object.fromEntries(record.map((name) => [name, []]));
    for (let i = 0; i < count; i++) {
      for (const [name, a] of batches) feeds[name] = toTensor(slice(a, i));
      const got = await session.run(feeds, [...new Set([...record, ...carry.map(([o]) => o)])]);
      for (const name of record) seen[name].push(fromTensor(got[name]));
      for (const [output, input] of carry) feeds[input] = got[output];
    }
    const out = Object.fromEntries(record.map((name) => [name, stack(seen[name])]));
    for (const [, input] of carry) out[input] = fromTensor(feeds[input]);
    writeNpz(q.output, out);
    return { steps: count };
  } finally {
    await session.release();
  }
}

function toTensor({ type, dims, data }) {
  return new ort.Tensor(type, data, dims);
}

function fromTensor(t) {
  return { type: t.type, dims: [...t.dims], data: t.data };
}

// slice is a[i] of an array with a leading axis of steps.
function slice({ type, dims, data }, i) {
  const rest = dims.slice(1);
  const n = rest.reduce((p, d) => p * d, 1);
  return { type, dims: rest, data: data.slice(i * n, (i + 1) * n) };
}

// stack puts equal shapes under a new leading axis.
function stack(list) {
  const { type, dims, data } = list[0];
  const all = new data.constructor(list.length * data.length);
  list.forEach((a, i) => all.set(a.data, i * data.length));
  return { type, dims: [list.length, ...dims], data: all };
}

async function serve() {
  for await (const line of createInterface({ input: process.stdin })) {
    let answer;
    try {
      const request = JSON.parse(line);
      if (!Object.hasOwn(ops, request.op)) throw new Error(`no operation ${request.op}`);
      answer = await ops[request.op](request);
    } catch (e) {
      answer = { error: String(e?.message ?? e) };
    }
    process.stdout.write(JSON.stringify(answer) + '\n');
  }
}

const [model, input, output, level] = process.argv.slice(2);
if (model === '--serve') {
  await serve();
} else if (output) {
  await run({ model, input, output, level });
} else {
  console.error('usage: node run.mjs MODEL IN.npz OUT.npz [LEVEL] | node run.mjs --serve');
  process.exitCode = 2;
}
