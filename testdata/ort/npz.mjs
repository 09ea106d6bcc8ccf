// Reading and writing .npz: a zip file of .npy arrays, the form in which the
// tests hand tensors to ONNX Runtime and get them back.
import { readFileSync, writeFileSync } from 'node:fs';
import { crc32, inflateRawSync } from 'node:zlib';

// One row per element type: NumPy's name, ONNX Runtime's name, and the typed
// array that ONNX Runtime's JavaScript interface takes for it.
const TYPES = [
  { npy: '<f4', ort: 'float32', array: Float32Array },
  { npy: '<f8', ort: 'float64', array: Float64Array },
  { npy: '<f2', ort: 'float16', array: Uint16Array },
  { npy: '|i1', ort: 'int8', array: Int8Array },
  { npy: '|u1', ort: 'uint8', array: Uint8Array },
  { npy: '|b1', ort: 'bool', array: Uint8Array },
  { npy: '<i2', ort: 'int16', array: Int16Array },
  { npy: '<u2', ort: 'uint16', array: Uint16Array },
  { npy: '<i4', ort: 'int32', array: Int32Array },
  { npy: '<u4', ort: 'uint32', array: Uint32Array },
  { npy: '<i8', ort: 'int64', array: BigInt64Array },
  { npy: '<u8', ort: 'uint64', array: BigUint64Array },
];

// readNpz returns a map from array name to {type, dims, data}.
export function readNpz(path) {
  const out = new Map();
  for (const [name, bytes] of unzip(readFileSync(path))) {
    out.set(name.replace(/\.npy$/, ''), decodeNpy(bytes, `${path}: ${name}`));
  }
  return out;
}

// writeNpz writes a map from name to {type, dims, data}, stored, not deflated.
export function writeNpz(path, arrays) {
  const locals = [];
  const directory = [];
  let offset = 0;
  for (const [name, array] of arrays) {
    const file = Buffer.from(`${name}.npy`, 'utf8');
    const body = encodeNpy(array, name);
    const sizes = Buffer.alloc(12);
    sizes.writeUInt32LE(crc32(body), 0);
    sizes.writeUInt32LE(body.length, 4);
    sizes.writeUInt32LE(body.length, 8);
    // Version 2.0, names in UTF-8 (flag bit 11), stored, 1 January 1980.
    const common = Buffer.from([20, 0, 0, 8, 0, 0, 0, 0, 0x21, 0]);
    const lengths = Buffer.alloc(4);
    lengths.writeUInt16LE(file.length, 0);
    locals.push(Buffer.from('PK\x03\x04', 'latin1'), common, sizes, lengths, file, body);
    const tail = Buffer.alloc(14); // no extra field, no comment, disk 0, no attributes
    tail.writeUInt32LE(offset, 10);
    directory.push(Buffer.from('PK\x01\x02\x14\x00', 'latin1'), common, sizes, lengths, tail, file);
    offset += 30 + file.length + body.length;
  }
  const central = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.write('PK\x05\x06', 0, 'latin1');
  end.writeUInt16LE(arrays.size, 8);
  end.writeUInt16LE(arrays.size, 10);
  end.writeUInt32LE(central.length, 12);
  end.writeUInt32LE(offset, 16);
  writeFileSync(path, Buffer.concat([...locals, central, end]));
}

// unzip yields [name, bytes] for every entry of the central directory.
function* unzip(zip) {
  let end = zip.length - 22;
  while (end >= 0 && zip.readUInt32LE(end) !== 0x06054b50) end--;
  if (end < 0) throw new Error('not a zip file');
  let at = zip.readUInt32LE(end + 16);
  for (let n = zip.readUInt16LE(end + 10); n > 0; n--) {
    const method = zip.readUInt16LE(at + 10);
    const packed = zip.readUInt32LE(at + 20);
    const nameLen = zip.readUInt16LE(at + 28);
    const local = zip.readUInt32LE(at + 42);
    const name = zip.toString('utf8', at + 46, at + 46 + nameLen);
    const start = local + 30 + zip.readUInt16LE(local + 26) + zip.readUInt16LE(local + 28);
    const body = zip.subarray(start, start + packed);
    yield [name, method === 0 ? body : inflateRawSync(body)];
    at += 46 + nameLen + zip.readUInt16LE(at + 30) + zip.readUInt16LE(at + 32);
  }
}

function decodeNpy(b, where) {
  if (b.toString('latin1', 0, 6) !== '\x93NUMPY') throw new Error(`${where}: not a .npy array`);
  const wide = b[6] > 1;
  const from = wide ? 12 : 10;
  const to = from + (wide ? b.readUInt32LE(8) : b.readUInt16LE(8));
  const header = b.toString('latin1', from, to);
  const descr = /'descr':\s*'([^']+)'/.exec(header)?.[1].replace(/^[<|=](?=[iub]1$)/, '|');
  const type = TYPES.find((t) => t.npy === descr);
  if (!type) throw new Error(`${where}: element type ${descr}`);
  if (/'fortran_order':\s*True/.test(header)) throw new Error(`${where}: fortran order`);
  const dims = /'shape':\s*\(([^)]*)\)/.exec(header)[1].split(',').map((s) => s.trim()).filter(Boolean).map(Number);
  const n = dims.reduce((p, d) => p * d, 1);
  const data = new type.array(n);
  Buffer.from(data.buffer).set(b.subarray(to, to + data.byteLength));
  return { type: type.ort, dims, data };
}

function encodeNpy({ type, dims, data }, name) {
  const row = TYPES.find((t) => t.ort === type);
  if (!row) throw new Error(`${name}: element type ${type} has no .npy form`);
  const shape = dims.length === 1 ? `(${dims[0]},)` : `(${dims.join(', ')})`;
  let header = `{'descr': '${row.npy}', 'fortran_order': False, 'shape': ${shape}, }`;
  header = header.padEnd(64 * Math.ceil((header.length + 11) / 64) - 11) + '\n';
  const head = Buffer.from('\x93NUMPY\x01\x00\x00\x00' + header, 'latin1');
  head.writeUInt16LE(header.length, 8);
  return Buffer.concat([head, Buffer.from(data.buffer, data.byteOffset, data.byteLength)]);
}
