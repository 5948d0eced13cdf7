import { makeFloat, parseFloat64, parseIndex, parseInteger, parseLiteral, parseUnicode } from './pickle-literals';
import type { Opcodes } from './pickle-machine';
import { PyTuple } from './python-values';

/** What each opcode of protocols 0 to 5 does; the names are those of Python's pickletools. */
export const OPCODES: Opcodes = {
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
  73: (m) => m.push(m.valid(parseInteger(m.line()), 'an integer')), // INT
  76: (m) => m.push(m.valid(parseInteger(m.line()), 'an integer')), // LONG
  74: (m) => m.push(m.i32()), // BININT
  75: (m) => m.push(m.u8()), // BININT1
  77: (m) => m.push(m.u16()), // BININT2
  138: (m) => m.push(m.long(m.u8())), // LONG1
  139: (m) => m.push(m.long(m.i32())), // LONG4
  70: (m) => m.push(m.valid(parseFloat64(m.line()), 'a number')), // FLOAT
  71: (m) => m.push(makeFloat(m.f64())), // BINFLOAT
  // Strings and bytes
  83: (m) => m.push(m.valid(parseLiteral(m.line()), 'a quoted string')), // STRING
  84: (m) => m.push(m.oldString(m.i32())), // BINSTRING
  85: (m) => m.push(m.oldString(m.u8())), // SHORT_BINSTRING
  86: (m) => m.push(m.valid(parseUnicode(m.rawLine()), 'a unicode string')), // UNICODE
  88: (m) => m.push(m.text(m.u32())), // BINUNICODE
  140: (m) => m.push(m.text(m.u8())), // SHORT_BINUNICODE
  141: (m) => m.push(m.text(m.u64())), // BINUNICODE8
  66: (m) => m.push(m.data(m.u32())), // BINBYTES
  67: (m) => m.push(m.data(m.u8())), // SHORT_BINBYTES
  142: (m) => m.push(m.data(m.u64())), // BINBYTES8
  150: (m) => m.push(m.data(m.u64())), // BYTEARRAY8
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
  112: (m) => m.store(m.valid(parseIndex(m.line()), 'a memo index')),
  113: (m) => m.store(m.u8()),
  114: (m) => m.store(m.u32()),
  148: (m) => m.memoize(),
  103: (m) => m.load(m.valid(parseIndex(m.line()), 'a memo index')),
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
