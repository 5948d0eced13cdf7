import { RepfuseError } from '../errors';

/** A Python tuple (a list stays an array). */
export class PyTuple {
  constructor(readonly items: readonly PyValue[]) {}
}

/** A Python float that holds a whole number, so that `1.0` is not taken for an integer. */
export class PyFloat {
  constructor(readonly value: number) {}
}

/** The name of a class or function; nothing is ever imported. */
export class PyGlobal {
  constructor(readonly name: string) {}
}

/** An object of a class that this machine does not know: its name and parts, inert. */
export class PyObject {
  state: PyValue = null;
  readonly items: [PyValue, PyValue][] = [];

  constructor(
    readonly className: string,
    readonly args: readonly PyValue[],
  ) {}
}

export type PyDict = Map<PyValue, PyValue>;
/** What a pickle can hold. Integers beyond 2^53 are bigint; other values that the host made are `object`. */
export type PyValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | PyFloat
  | PyTuple
  | PyGlobal
  | PyObject
  | PyValue[]
  | PyDict
  | Set<PyValue>
  | object;

/** What the reader of a format adds to the machine. Both return undefined for what they do not know. */
export interface PickleHost {
  /** The value of calling a known constructor; never runs anything from the file. */
  construct(name: string, args: readonly PyValue[]): PyValue | undefined;
  /** The value of a persistent id (torch: a storage). */
  persistent(id: PyValue): PyValue | undefined;
}

// Far above what checkpoints need, and low enough that no pickle can fill the heap.
const MAX_STACK = 1 << 20;
const MAX_MEMO = 1 << 21;
const MAX_OBJECTS = 1 << 20;
const MAX_INTEGER_BYTES = 1 << 10;

/** Modules whose functions act when called: a pickle that calls one is an attack, whatever else the file holds. */
const ACTING_MODULES =
  /^(?:os|posix|nt|subprocess|sys|builtins|__builtin__|runpy|importlib|socket|shutil|pty|code|ctypes|webbrowser|torch\.hub|torch\.package|pickle|_pickle|operator|functools)\./;
/** Harmless builtins: types that checkpoints really hold. */
const HARMLESS =
  /^(?:builtins|__builtin__)\.(?:set|frozenset|list|dict|tuple|int|float|complex|bool|str|bytes|bytearray|slice|range|object)$|^(?:os\.PathLike)$/;

const MARK = Symbol('mark');

/**
 * A pickle machine for untrusted data (protocols 0 to 5). It builds plain values and never imports or calls anything: known
 * constructors go to the host, unknown ones become inert objects that carry their name.
 *
 * @param bytes the pickle; bytes after STOP are ignored
 * @throws ERR_REPFUSE_PICKLE with the byte offset, also when the pickle calls a function that acts (os.system, eval, ...)
 */
export function unpickle(bytes: Uint8Array, host: PickleHost): PyValue {
  return new Machine(bytes, host).run();
}

class Machine {
  private readonly view: DataView;
  private at = 0;
  private opcodeAt = 0;
  private readonly stack: (PyValue | typeof MARK)[] = [];
  private readonly memo = new Map<number, PyValue>();
  private objects = 0;

  constructor(
    private readonly bytes: Uint8Array,
    private readonly host: PickleHost,
  ) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  run(): PyValue {
    for (;;) {
      this.opcodeAt = this.at;
      const opcode = this.u8('an opcode (the pickle has no STOP)');
      if (opcode === 0x2e) return this.pop(); // STOP
      const action = OPCODES[opcode];
      if (action === undefined) throw this.error(`opcode 0x${opcode.toString(16)} is not known`);
      action(this);
      if (this.stack.length > MAX_STACK) throw this.error(`the stack holds more than ${MAX_STACK} values`);
    }
  }

  error(problem: string): RepfuseError {
    return new RepfuseError('ERR_REPFUSE_PICKLE', `Bad pickle at byte ${this.opcodeAt}: ${problem}`, {
      offset: this.opcodeAt,
    });
  }

  // Reading

  take(count: number, what: string): Uint8Array {
    if (count < 0 || count > this.bytes.length - this.at) {
      throw this.error(`truncated: ${what} of length ${count} goes beyond the end`);
    }
    this.at += count;
    return this.bytes.subarray(this.at - count, this.at);
  }

  u8(what = 'a byte'): number {
    return this.take(1, what)[0]!;
  }

  u16(): number {
    this.take(2, 'a number');
    return this.view.getUint16(this.at - 2, true);
  }

  i32(): number {
    this.take(4, 'a number');
    return this.view.getInt32(this.at - 4, true);
  }

  u32(): number {
    return this.i32() >>> 0;
  }

  u64(): number {
    this.take(8, 'a number');
    const value = this.view.getBigUint64(this.at - 8, true);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw this.error(`length ${value} is too large`);
    return Number(value);
  }

  f64(): number {
    this.take(8, 'a number');
    return this.view.getFloat64(this.at - 8, false);
  }

  rawLine(): Uint8Array {
    const end = this.bytes.indexOf(0x0a, this.at);
    if (end < 0) throw this.error('truncated: a line without end');
    const line = this.bytes.subarray(this.at, end);
    this.at = end + 1;
    return line;
  }

  line(): string {
    return this.utf8(this.rawLine());
  }

  text(length: number): string {
    return this.utf8(this.take(length, 'a string'));
  }

  private utf8(bytes: Uint8Array): string {
    const text = decodeUtf8(bytes);
    if (text === undefined) throw this.error('a string that is not UTF-8');
    return text;
  }

  /** Two's complement, little endian. */
  long(length: number): number | bigint {
    if (length > MAX_INTEGER_BYTES) throw this.error(`an integer of ${length} bytes (limit ${MAX_INTEGER_BYTES})`);
    const digits = this.take(length, 'an integer');
    let value = 0n;
    for (let i = digits.length - 1; i >= 0; i--) value = (value << 8n) | BigInt(digits[i]!);
    if (digits.length > 0 && digits[digits.length - 1]! & 0x80) value -= 1n << BigInt(8 * digits.length);
    return narrow(value);
  }

  // Stack and memo

  /** Puts a value that was on the stack before. */
  again(value: PyValue): void {
    this.stack.push(value);
  }

  /** Puts a new value. */
  push(value: PyValue): void {
    if (typeof value === 'object' && value !== null) this.count(1);
    this.stack.push(value);
  }

  private count(objects: number): void {
    this.objects += objects;
    if (this.objects > MAX_OBJECTS) throw this.error(`it makes more than ${MAX_OBJECTS} objects`);
  }

  mark(): void {
    this.stack.push(MARK);
  }

  pop(): PyValue {
    const value = this.stack.pop();
    if (value === undefined || value === MARK) throw this.error('the stack is empty');
    return value as PyValue;
  }

  discard(): void {
    if (this.stack.pop() === undefined) throw this.error('the stack is empty');
  }

  top(): PyValue {
    const value = this.stack.at(-1);
    if (value === undefined || value === MARK) throw this.error('the stack is empty');
    return value as PyValue;
  }

  popToMark(): PyValue[] {
    const mark = this.stack.lastIndexOf(MARK);
    if (mark < 0) throw this.error('no mark on the stack');
    return this.stack.splice(mark).slice(1) as PyValue[];
  }

  store(index: number): void {
    if (this.memo.size >= MAX_MEMO) throw this.error(`the memo holds more than ${MAX_MEMO} values`);
    this.memo.set(index, this.top());
  }

  memoize(): void {
    this.store(this.memo.size);
  }

  load(index: number): void {
    const value = this.memo.get(index);
    if (value === undefined) throw this.error(`memo ${index} was never stored`);
    this.again(value);
  }

  // Building

  append(values: readonly PyValue[]): void {
    const list = this.top();
    if (Array.isArray(list)) {
      for (const value of values) list.push(value);
    } else if (list instanceof PyObject) {
      for (const value of values) list.items.push([null, value]);
    } else {
      throw this.error('append to something that is no list');
    }
  }

  setItems(values: readonly PyValue[]): void {
    if (values.length % 2 !== 0) throw this.error('a dict with a key and no value');
    const target = this.top();
    if (!(target instanceof Map || target instanceof PyObject))
      throw this.error('an item set on something that is no dict');
    for (let i = 0; i < values.length; i += 2) {
      if (target instanceof Map) target.set(values[i]!, values[i + 1]!);
      else target.items.push([values[i]!, values[i + 1]!]);
    }
  }

  addItems(values: readonly PyValue[]): void {
    const target = this.top();
    if (!(target instanceof Set)) throw this.error('items added to something that is no set');
    for (const value of values) target.add(value);
  }

  global(module: PyValue, name: PyValue): void {
    if (typeof module !== 'string' || typeof name !== 'string') throw this.error('a global without a name');
    this.push(new PyGlobal(`${module}.${name}`));
  }

  call(callable: PyValue, args: readonly PyValue[]): void {
    // Calling what an earlier call returned (getattr chains) has no honest use in a checkpoint.
    const name =
      callable instanceof PyGlobal ? callable.name : callable instanceof PyObject ? callable.className : undefined;
    if (name === undefined) throw this.error('a call of something that is no class');
    // A constructor may copy its arguments, again and again if the pickle says so.
    for (const arg of args) this.count(Array.isArray(arg) ? arg.length : arg instanceof PyTuple ? arg.items.length : 0);
    const known = callable instanceof PyGlobal ? this.host.construct(name, args) : undefined;
    if (known !== undefined) {
      this.push(known);
      return;
    }
    if ((ACTING_MODULES.test(name) && !HARMLESS.test(name)) || callable instanceof PyObject) {
      throw this.error(`it calls ${name}, which no weights need: refused, nothing was run`);
    }
    this.push(new PyObject(name, args));
  }

  reduce(): void {
    const args = this.pop();
    if (!(args instanceof PyTuple)) throw this.error('a call without a tuple of arguments');
    this.call(this.pop(), args.items);
  }

  build(): void {
    const state = this.pop();
    const target = this.top();
    // State of known values (an OrderedDict's attributes, hooks of a parameter) carries no weights.
    if (target instanceof PyObject) target.state = state;
  }

  persist(id: PyValue): void {
    const value = this.host.persistent(id);
    if (value === undefined) throw this.error('a persistent id that is no storage');
    this.push(value);
  }
}

const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function decodeUtf8(bytes: Uint8Array): string | undefined {
  try {
    return UTF8.decode(bytes);
  } catch {
    return undefined;
  }
}

/** Strings of Python 2 are bytes of no stated encoding. */
function decodeBytes(bytes: Uint8Array): string {
  return decodeUtf8(bytes) ?? latin1(bytes);
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
}

function narrow(value: bigint): number | bigint {
  return value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;
}

function float(value: number): PyValue {
  return Number.isInteger(value) ? new PyFloat(value) : value;
}

/** Text integers of protocol 0; 00 and 01 are booleans there. */
function parseInteger(m: Machine, text: string): PyValue {
  if (text === '00') return false;
  if (text === '01') return true;
  if (!/^-?\d{1,400}L?$/.test(text))
    throw m.error(`expected an integer but received ${JSON.stringify(text.slice(0, 20))}`);
  return narrow(BigInt(text.replace(/L$/, '')));
}

function parseFloat64(m: Machine, text: string): PyValue {
  const value = Number(text);
  if (text.trim() === '' || Number.isNaN(value))
    throw m.error(`expected a number but received ${JSON.stringify(text.slice(0, 20))}`);
  return float(value);
}

function parseIndex(m: Machine, text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw m.error('a memo index that is no number');
  return Number(text);
}

const ESCAPES: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t', '\\': '\\', "'": "'", '"': '"' };

/** Protocol 0 strings are Python literals. */
function unquote(m: Machine, text: string): string {
  const quote = text[0];
  if ((quote !== "'" && quote !== '"') || text.length < 2 || text.at(-1) !== quote) {
    throw m.error('a string without quotes');
  }
  return text.slice(1, -1).replace(/\\(?:x([0-9a-f]{2})|(.?))/gi, (_, hex: string | undefined, char: string) => {
    const value = hex === undefined ? ESCAPES[char] : String.fromCharCode(Number.parseInt(hex, 16));
    if (value === undefined) throw m.error(`a string with the escape \\${char}`);
    return value;
  });
}

/** Protocol 0 unicode: Latin-1 with `\uXXXX` and `\UXXXXXXXX`. */
function unescapeUnicode(m: Machine, text: string): string {
  return text.replace(/\\u([0-9a-f]{4})|\\U([0-9a-f]{8})/g, (_, short: string | undefined, long: string) => {
    const point = Number.parseInt(short ?? long, 16);
    if (point > 0x10ffff) throw m.error(`a string with the code point 0x${long}`);
    return String.fromCodePoint(point);
  });
}

const OPCODES: { readonly [opcode: number]: (m: Machine) => void } = {
  // Framing and protocol
  128: (m) => {
    const protocol = m.u8();
    if (protocol > 5) throw m.error(`protocol ${protocol} is not known`);
  },
  149: (m) => void m.u64(), // FRAME
  // Stack
  40: (m) => m.mark(),
  48: (m) => m.discard(),
  49: (m) => void m.popToMark(),
  50: (m) => m.again(m.top()), // DUP
  // Constants and numbers
  78: (m) => m.push(null),
  136: (m) => m.push(true),
  137: (m) => m.push(false),
  73: (m) => m.push(parseInteger(m, m.line())), // INT
  76: (m) => m.push(parseInteger(m, m.line())), // LONG
  74: (m) => m.push(m.i32()), // BININT
  75: (m) => m.push(m.u8()), // BININT1
  77: (m) => m.push(m.u16()), // BININT2
  138: (m) => m.push(m.long(m.u8())), // LONG1
  139: (m) => m.push(m.long(m.i32())), // LONG4
  70: (m) => m.push(parseFloat64(m, m.line())), // FLOAT
  71: (m) => m.push(float(m.f64())), // BINFLOAT
  // Strings and bytes
  83: (m) => m.push(unquote(m, m.line())), // STRING
  84: (m) => m.push(decodeBytes(m.take(m.i32(), 'a string'))), // BINSTRING
  85: (m) => m.push(decodeBytes(m.take(m.u8(), 'a string'))), // SHORT_BINSTRING
  86: (m) => m.push(unescapeUnicode(m, latin1(m.rawLine()))), // UNICODE
  88: (m) => m.push(m.text(m.u32())), // BINUNICODE
  140: (m) => m.push(m.text(m.u8())), // SHORT_BINUNICODE
  141: (m) => m.push(m.text(m.u64())), // BINUNICODE8
  66: (m) => m.push(m.take(m.u32(), 'bytes')), // BINBYTES
  67: (m) => m.push(m.take(m.u8(), 'bytes')), // SHORT_BINBYTES
  142: (m) => m.push(m.take(m.u64(), 'bytes')), // BINBYTES8
  150: (m) => m.push(m.take(m.u64(), 'bytes')), // BYTEARRAY8
  // Tuples, lists, dicts, sets
  41: (m) => m.push(new PyTuple([])),
  133: (m) => m.push(new PyTuple([m.pop()])),
  134: (m) => {
    const second = m.pop();
    m.push(new PyTuple([m.pop(), second]));
  },
  135: (m) => {
    const third = m.pop();
    const second = m.pop();
    m.push(new PyTuple([m.pop(), second, third]));
  },
  116: (m) => m.push(new PyTuple(m.popToMark())),
  93: (m) => m.push([]),
  108: (m) => m.push(m.popToMark()),
  97: (m) => m.append([m.pop()]),
  101: (m) => m.append(m.popToMark()),
  125: (m) => m.push(new Map()),
  100: (m) => {
    const items = m.popToMark();
    m.push(new Map());
    m.setItems(items);
  },
  115: (m) => {
    const value = m.pop();
    m.setItems([m.pop(), value]);
  },
  117: (m) => m.setItems(m.popToMark()),
  143: (m) => m.push(new Set()),
  144: (m) => m.addItems(m.popToMark()),
  145: (m) => m.push(new Set(m.popToMark())),
  // Memo
  112: (m) => m.store(parseIndex(m, m.line())),
  113: (m) => m.store(m.u8()),
  114: (m) => m.store(m.u32()),
  148: (m) => m.memoize(),
  103: (m) => m.load(parseIndex(m, m.line())),
  104: (m) => m.load(m.u8()),
  106: (m) => m.load(m.u32()),
  // Globals and objects
  99: (m) => m.global(m.line(), m.line()),
  147: (m) => {
    const name = m.pop();
    m.global(m.pop(), name);
  },
  82: (m) => m.reduce(),
  129: (m) => m.reduce(), // NEWOBJ
  146: (m) => {
    m.pop(); // NEWOBJ_EX: keyword arguments say nothing about weights
    m.reduce();
  },
  105: (m) => {
    m.global(m.line(), m.line()); // INST
    const callable = m.pop();
    m.call(callable, m.popToMark());
  },
  111: (m) => {
    const [callable, ...args] = m.popToMark(); // OBJ
    if (callable === undefined) throw m.error('an object without a class');
    m.call(callable, args);
  },
  98: (m) => m.build(),
  80: (m) => m.persist(m.line()),
  81: (m) => m.persist(m.pop()),
};
