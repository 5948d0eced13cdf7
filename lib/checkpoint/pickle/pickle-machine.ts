import { RepfuseError } from '../../errors';
import { decodeBytes, decodeInteger, decodeUtf8 } from './pickle-literals';
import { PyData, PyGlobal, PyObject, PyTuple, type PyValue } from './python-values';

/** What the reader of a format adds to the machine. Both return undefined for what they do not know. */
export interface PickleHost {
  /** The value of calling a known constructor; never runs anything from the file. */
  construct(name: string, args: readonly PyValue[]): PyValue | undefined;
  /** The value of a persistent id (torch: a storage). */
  persistent(id: PyValue): PyValue | undefined;
  /** Takes the state of a value that `construct` made (BUILD), where it has any use for it. */
  build?(target: PyValue, state: PyValue): void;
}

// Far above what checkpoints need, and low enough that no pickle can fill the heap.
const MAX_STACK = 1 << 20;
const MAX_MEMO = 1 << 21;
const MAX_OBJECTS = 1 << 20;
const MAX_INTEGER_BYTES = 1 << 10;
/** Protocol 0 has no other strings than lines. */
const MAX_LINE = 1 << 28;

/** Modules whose functions act when called: a pickle that calls one is an attack, whatever else the file holds. */
const ACTING_MODULES =
  /^(?:os|posix|nt|subprocess|sys|builtins|__builtin__|runpy|importlib|socket|shutil|pty|code|ctypes|webbrowser|torch\.hub|torch\.package|pickle|_pickle|operator|functools)\./;
/** Harmless builtins: types that checkpoints really hold. */
const HARMLESS =
  /^(?:builtins|__builtin__)\.(?:set|frozenset|list|dict|tuple|int|float|complex|bool|str|bytes|bytearray|slice|range|object)$|^(?:os\.PathLike)$/;

const MARK = Symbol('mark');

/** More of the file has to be shown: where from, and how many bytes at least. Thrown before the opcode has changed anything. */
class MoreBytes {
  constructor(
    readonly position: number,
    readonly length: number,
  ) {}
}

/** What each opcode does. */
export type Opcodes = { readonly [opcode: number]: (machine: Machine) => void };

/** The state of one run; the opcodes act on it. It sees a window of the pickle at a time: every opcode reads before it acts. */
export class Machine {
  /** What was pickled, once STOP is reached. */
  result: PyValue | undefined;
  private bytes: Uint8Array = new Uint8Array();
  private view: DataView = new DataView(this.bytes.buffer);
  /** Where the window begins in the file. */
  private start: number;
  private at = 0;
  private opcodeAt = 0;
  private readonly stack: (PyValue | typeof MARK)[] = [];
  private readonly memo = new Map<number, PyValue>();
  private objects = 0;

  constructor(
    private readonly opcodes: Opcodes,
    private readonly host: PickleHost,
    /** Bytes of the file. */
    private readonly size: number,
    /** Strings of so many bytes stay in the file, as PyData. */
    private readonly longest = Number.POSITIVE_INFINITY,
    position = 0,
  ) {
    this.start = position;
  }

  /** Bytes of the file that have been read. */
  get position(): number {
    return this.start + this.at;
  }

  /** Shows a part of the file: that which `run` asked for, or one that begins at `position`. */
  show(bytes: Uint8Array, position: number): void {
    this.at += this.start - position;
    this.start = position;
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Runs so many opcodes. @returns what of the file has to be shown to go on; undefined at STOP, and where `count` are done */
  run(count: number): MoreBytes | undefined {
    try {
      for (let done = 0; done < count; done++) {
        this.opcodeAt = this.at;
        const opcode = this.u8('an opcode (the pickle has no STOP)');
        if (opcode === 0x2e) {
          this.result = this.pop(); // STOP
          return undefined;
        }
        const action = this.opcodes[opcode];
        if (action === undefined) throw this.error(`opcode 0x${opcode.toString(16)} is not known`);
        action(this);
        if (this.stack.length > MAX_STACK) throw this.error(`the stack holds more than ${MAX_STACK} values`);
      }
    } catch (more) {
      if (!(more instanceof MoreBytes)) throw more;
      this.at = this.opcodeAt;
      return more;
    }
    return undefined;
  }

  /** The key whose value is being read, of the innermost dict that is being filled. */
  keyBeingRead(): string | undefined {
    for (let i = this.stack.length - 1; i >= 0; i--) {
      if (!(this.stack[i] instanceof Map)) continue;
      let at = this.stack[i + 1] === MARK ? i + 2 : i + 1;
      let key: string | undefined;
      for (; typeof this.stack[at] === 'string'; at += 2) key = this.stack[at] as string;
      if (key !== undefined) return key;
    }
    return undefined;
  }

  error(problem: string): RepfuseError {
    const offset = this.start + this.opcodeAt;
    return new RepfuseError('ERR_REPFUSE_PICKLE', `Bad pickle at byte ${offset}: ${problem}`, { offset });
  }

  private truncated(what: string, needed: number, left: number): RepfuseError {
    const { code, message, details } = this.error(
      `truncated: ${what} goes beyond the end, ${Math.max(left, 0)} bytes are left`,
    );
    return new RepfuseError(code, message, { ...details, truncated: true, needed, left });
  }

  // Reading

  take(count: number, what: string): Uint8Array {
    const start = this.skip(count, what);
    return this.bytes.subarray(start, this.at);
  }

  /** Bytes, or where they lie. */
  data(count: number): Uint8Array | PyData {
    return count < this.longest ? this.take(count, 'bytes') : this.leave(count, 'bytes', 'bytes');
  }

  /** Strings of Python 2: text, or bytes. */
  oldString(count: number): string | PyData {
    return count < this.longest ? decodeBytes(this.take(count, 'a string')) : this.leave(count, 'a string', 'bytes');
  }

  /** Passes over bytes, which need not be in the window. */
  private leave(length: number, what: string, encoding: PyData['encoding']): PyData {
    const offset = this.position;
    const left = this.size - offset;
    if (length > left) throw this.truncated(`${what} of length ${length}`, length, left);
    this.at += length;
    return new PyData(offset, length, encoding);
  }

  /** Where so many bytes begin, now read. No view is made of them: most of a pickle is single bytes. */
  private skip(count: number, what: string): number {
    if (count < 0 || count > this.bytes.length - this.at) {
      const left = this.size - this.position;
      if (count < 0 || count > left) throw this.truncated(`${what} of length ${count}`, count, left);
      throw new MoreBytes(this.start + this.opcodeAt, this.at - this.opcodeAt + count);
    }
    this.at += count;
    return this.at - count;
  }

  u8(what = 'a byte'): number {
    return this.bytes[this.skip(1, what)]!;
  }

  u16(): number {
    return this.view.getUint16(this.skip(2, 'a number'), true);
  }

  i32(): number {
    return this.view.getInt32(this.skip(4, 'a number'), true);
  }

  u32(): number {
    return this.i32() >>> 0;
  }

  u64(): number {
    const value = this.view.getBigUint64(this.skip(8, 'a number'), true);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw this.error(`length ${value} is too large`);
    return Number(value);
  }

  f64(): number {
    return this.view.getFloat64(this.skip(8, 'a number'), false);
  }

  rawLine(): Uint8Array {
    const end = this.bytes.indexOf(0x0a, this.at);
    if (end < 0) {
      const seen = this.bytes.length - this.at;
      const left = this.size - this.position;
      if (seen >= MAX_LINE) throw this.error(`a line of more than ${MAX_LINE} bytes`);
      if (left <= seen) throw this.truncated('a line without end', seen + 1, seen);
      throw new MoreBytes(this.start + this.opcodeAt, this.at - this.opcodeAt + 2 * seen + 64);
    }
    const line = this.bytes.subarray(this.at, end);
    this.at = end + 1;
    return line;
  }

  line(): string {
    return this.valid(decodeUtf8(this.rawLine()), 'UTF-8 text');
  }

  text(length: number): string | PyData {
    if (length >= this.longest) return this.leave(length, 'a string', 'utf8');
    return this.valid(decodeUtf8(this.take(length, 'a string')), 'UTF-8 text');
  }

  /** The value, unless it could not be read. */
  valid<T>(value: T | undefined, expected: string): T {
    if (value === undefined) throw this.error(`expected ${expected} but received something else`);
    return value;
  }

  long(length: number): number | bigint {
    if (length > MAX_INTEGER_BYTES) throw this.error(`an integer of ${length} bytes (limit ${MAX_INTEGER_BYTES})`);
    return decodeInteger(this.take(length, 'an integer'));
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
    for (const arg of args) this.count(lengthOf(arg));
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
    // State of most known values (an OrderedDict's attributes, hooks of a parameter) carries no weights.
    if (target instanceof PyObject) target.state = state;
    else this.host.build?.(target, state);
  }

  persist(id: PyValue): void {
    const value = this.host.persistent(id);
    if (value === undefined) throw this.error('a persistent id that is no storage');
    this.push(value);
  }
}

function lengthOf(value: PyValue): number {
  if (Array.isArray(value)) return value.length;
  if (value instanceof PyTuple) return value.items.length;
  return value instanceof Map || value instanceof Set ? value.size : 0;
}
