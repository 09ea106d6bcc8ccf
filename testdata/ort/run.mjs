// Runs ONNX models in ONNX Runtime for bonnx's tests.
//
//   node run.mjs MODEL IN.npz OUT.npz [LEVEL]   one run; LEVEL is disabled, basic, extended or all
//   node run.mjs --time MODEL IN.npz RUNS THREADS   times runs after one that is not counted:
//                                               {seconds: [...]}
//   node run.mjs --version                      {node, onnxruntime}
//   node run.mjs --serve                        requests as JSON lines on stdin, answers on stdout
//
// Requests ({"op": ...}; every answer is {...} or {"error": "..."}):
//   version   {}                                -> {node, onnxruntime}
//   describe  {model, level?}                   -> {inputs: [{name, type, shape}], outputs: [...]}
//   optimize  {model, output, level?}           -> {}
//             writes the graph that it would run, in ONNX Runtime's own operators.
//   run       {model, input, output, feeds, outputs?, level?, threads?}   -> {outputs: [NAME]}
//             array i of the file input is fed to feeds[i]; array i of the
//             file output is outputs[i], all outputs where none is named.
//   steps     {model, batches, batchFeeds, state, stateFeeds, carry: {OUTPUT: INPUT},
//              record: [OUTPUT], output, level?, threads?}                -> {steps, outputs: [NAME]}
//             every array of batches has a leading axis of steps and is fed one
//             slice per step; arrays of state are fed as they are; after each
//             step carried outputs replace their inputs. The file output gets
//             each recorded output stacked over the steps, then each carried
//             value after the last step, under the name of its input.
//
// Arrays in files are named by their place ("0", "1", ...), because a value's
// name may be anything and a zip entry's may not.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { readNpz, writeNpz } from './npz.mjs';

const require = createRequire(import.meta.url);
const ort = require('onnxruntime-node');

const ops = { version, describe, optimize, run, steps };

async function open({ model, level = 'all', threads = 1 }, more = {}) {
  return ort.InferenceSession.create(model, {
    ...more,
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

async function optimize(q) {
  const session = await open(q, { optimizedModelFilePath: q.output });
  await session.release();
  return {};
}

async function run(q) {
  const session = await open(q);
  try {
    const names = q.outputs?.length ? q.outputs : session.outputNames;
    const got = await session.run(tensors(q.input, q.feeds), names);
    writeList(q.output, names.map((n) => fromTensor(got[n])));
    return { outputs: names };
  } finally {
    await session.release();
  }
}

async function steps(q) {
  const session = await open(q);
  try {
    const batches = [...byPlace(q.batches, q.batchFeeds)];
    const feeds = tensors(q.state, q.stateFeeds);
    const count = batches[0][1].dims[0];
    const carry = Object.entries(q.carry);
    const wanted = [...new Set([...q.record, ...carry.map(([output]) => output)])];
    const seen = q.record.map(() => []);
    for (let i = 0; i < count; i++) {
      for (const [name, a] of batches) feeds[name] = toTensor(slice(a, i));
      const got = await session.run(feeds, wanted);
      q.record.forEach((name, k) => seen[k].push(fromTensor(got[name])));
      for (const [output, input] of carry) feeds[input] = got[output];
    }
    writeList(q.output, [...seen.map(stack), ...carry.map(([, input]) => fromTensor(feeds[input]))]);
    return { steps: count, outputs: [...q.record, ...carry.map(([, input]) => input)] };
  } finally {
    await session.release();
  }
}

// byPlace yields [name, array] for the arrays "0", "1", ... of a file.
function* byPlace(path, names) {
  const arrays = readNpz(path);
  for (const [i, name] of names.entries()) yield [name, arrays.get(String(i))];
}

function tensors(path, names) {
  return Object.fromEntries([...byPlace(path, names)].map(([name, a]) => [name, toTensor(a)]));
}

function writeList(path, arrays) {
  writeNpz(path, new Map(arrays.map((a, i) => [String(i), a])));
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

// named are a file's arrays, called as the model calls them.
function named(path) {
  return Object.fromEntries([...readNpz(path)].map(([name, a]) => [name, toTensor(a)]));
}

async function time(model, input, runs, threads) {
  const session = await open({ model, threads });
  const feeds = named(input);
  await session.run(feeds);
  const seconds = [];
  for (let i = 0; i < runs; i++) {
    const began = process.hrtime.bigint();
    await session.run(feeds);
    seconds.push(Number(process.hrtime.bigint() - began) / 1e9);
  }
  console.log(JSON.stringify({ seconds }));
}

// once is the command line's form.
async function once(model, input, output, level) {
  const session = await open({ model, level });
  const got = await session.run(named(input));
  writeNpz(output, new Map(Object.entries(got).map(([name, t]) => [name, fromTensor(t)])));
}

const [first, ...rest] = process.argv.slice(2);
if (first === '--serve') {
  await serve();
} else if (first === '--version') {
  console.log(JSON.stringify(await version()));
} else if (first === '--time' && rest.length === 4) {
  await time(rest[0], rest[1], Number(rest[2]), Number(rest[3]));
} else if (rest.length > 1) {
  await once(first, ...rest);
} else {
  console.error('usage: node run.mjs MODEL IN.npz OUT.npz [LEVEL] | --time MODEL IN.npz RUNS THREADS | --version | --serve');
  process.exitCode = 2;
}
