import { unpickle } from '../../lib/checkpoint/pickle/pickle';
import type { PickleHost } from '../../lib/checkpoint/pickle/pickle-machine';
import { PyFloat, PyGlobal, PyObject, PyTuple, type PyValue } from '../../lib/checkpoint/pickle/python-values';
import type { RepfuseError } from '../../lib/errors';
import { call, dict, global, instance, item, pickle, tuple } from '../support/torch-file';

const NO_HOST: PickleHost = { construct: () => undefined, persistent: () => undefined };

function load(bytes: Uint8Array | string): PyValue {
  return unpickle(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes, NO_HOST);
}

function refused(bytes: Uint8Array | string): RepfuseError {
  try {
    load(bytes);
  } catch (error) {
    expect((error as RepfuseError).code).toBe('ERR_REPFUSE_PICKLE');
    return error as RepfuseError;
  }
  throw new Error('it was accepted');
}

/**
 * One object as CPython 3.11 writes it in each protocol:
 * {'a': [1, -1, 255, 65536, -2**31, 2**40, 2**70, -2**70, 1.0, -1.5, inf, True, False, None], 't': ((), (1,), (1, 2), (1, 2, 3),
 * (1, 2, 3, 4)), 'u': 'äß€😀 \\ \n', 'b': b'\0\xff', 's': {1}, 'e': {}, '__proto__': 1, 'l': a list that holds itself}
 */
const BY_CPYTHON = [
  'KGRwMApWYQpwMQoobHAyCkkxCmFJLTEKYUkyNTUKYUk2NTUzNgphSS0yMTQ3NDgzNjQ4CmFMMTA5OTUxMTYyNzc3NkwKYUwxMTgwNTkxNjIwNzE3NDExMzAzNDI0TAphTC0xMTgwNTkxNjIwNzE3NDExMzAzNDI0TAphRjEuMAphRi0xLjUKYUZpbmYKYUkwMQphSTAwCmFOYXNWdApwMwooKHQoSTEKdHA0CihJMQpJMgp0cDUKKEkxCkkyCkkzCnRwNgooSTEKSTIKSTMKSTQKdHA3CnRwOApzVnUKcDkKVuTfXHUyMGFjXFUwMDAxZjYwMCBcdTAwNWMgXHUwMDBhCnAxMApzVmIKcDExCmNfY29kZWNzCmVuY29kZQpwMTIKKFZcdTAwMDD/CnAxMwpWbGF0aW4xCnAxNAp0cDE1ClJwMTYKc1ZzCnAxNwpjX19idWlsdGluX18Kc2V0CnAxOAooKGxwMTkKSTEKYXRwMjAKUnAyMQpzVmUKcDIyCihkcDIzCnNWX19wcm90b19fCnAyNApJMQpzVmwKcDI1CihscDI2CmcyNgphcy4=',
  'fXEAKFgBAAAAYXEBXXECKEsBSv////9L/0oAAAEASgAAAIBMMTA5OTUxMTYyNzc3NkwKTDExODA1OTE2MjA3MTc0MTEzMDM0MjRMCkwtMTE4MDU5MTYyMDcxNzQxMTMwMzQyNEwKRz/wAAAAAAAAR7/4AAAAAAAAR3/wAAAAAAAASTAxCkkwMApOZVgBAAAAdHEDKCkoSwF0cQQoSwFLAnRxBShLAUsCSwN0cQYoSwFLAksDSwR0cQd0cQhYAQAAAHVxCVgPAAAAw6TDn+KCrPCfmIAgXCAKcQpYAQAAAGJxC2NfY29kZWNzCmVuY29kZQpxDChYAwAAAADDv3ENWAYAAABsYXRpbjFxDnRxD1JxEFgBAAAAc3ERY19fYnVpbHRpbl9fCnNldApxEihdcRNLAWF0cRRScRVYAQAAAGVxFn1xF1gJAAAAX19wcm90b19fcRhLAVgBAAAAbHEZXXEaaBphdS4=',
  'gAJ9cQAoWAEAAABhcQFdcQIoSwFK/////0v/SgAAAQBKAAAAgIoGAAAAAAABigkAAAAAAAAAAECKCQAAAAAAAAAAwEc/8AAAAAAAAEe/+AAAAAAAAEd/8AAAAAAAAIiJTmVYAQAAAHRxAygpSwGFcQRLAUsChnEFSwFLAksDh3EGKEsBSwJLA0sEdHEHdHEIWAEAAAB1cQlYDwAAAMOkw5/igqzwn5iAIFwgCnEKWAEAAABicQtjX2NvZGVjcwplbmNvZGUKcQxYAwAAAADDv3ENWAYAAABsYXRpbjFxDoZxD1JxEFgBAAAAc3ERY19fYnVpbHRpbl9fCnNldApxEl1xE0sBYYVxFFJxFVgBAAAAZXEWfXEXWAkAAABfX3Byb3RvX19xGEsBWAEAAABscRldcRpoGmF1Lg==',
  'gAN9cQAoWAEAAABhcQFdcQIoSwFK/////0v/SgAAAQBKAAAAgIoGAAAAAAABigkAAAAAAAAAAECKCQAAAAAAAAAAwEc/8AAAAAAAAEe/+AAAAAAAAEd/8AAAAAAAAIiJTmVYAQAAAHRxAygpSwGFcQRLAUsChnEFSwFLAksDh3EGKEsBSwJLA0sEdHEHdHEIWAEAAAB1cQlYDwAAAMOkw5/igqzwn5iAIFwgCnEKWAEAAABicQtDAgD/cQxYAQAAAHNxDWNidWlsdGlucwpzZXQKcQ5dcQ9LAWGFcRBScRFYAQAAAGVxEn1xE1gJAAAAX19wcm90b19fcRRLAVgBAAAAbHEVXXEWaBZhdS4=',
  'gASVxwAAAAAAAAB9lCiMAWGUXZQoSwFK/////0v/SgAAAQBKAAAAgIoGAAAAAAABigkAAAAAAAAAAECKCQAAAAAAAAAAwEc/8AAAAAAAAEe/+AAAAAAAAEd/8AAAAAAAAIiJTmWMAXSUKClLAYWUSwFLAoaUSwFLAksDh5QoSwFLAksDSwR0lHSUjAF1lIwPw6TDn+KCrPCfmIAgXCAKlIwBYpRDAgD/lIwBc5SPlChLAZCMAWWUfZSMCV9fcHJvdG9fX5RLAYwBbJRdlGgTYXUu',
  'gAWVxwAAAAAAAAB9lCiMAWGUXZQoSwFK/////0v/SgAAAQBKAAAAgIoGAAAAAAABigkAAAAAAAAAAECKCQAAAAAAAAAAwEc/8AAAAAAAAEe/+AAAAAAAAEd/8AAAAAAAAIiJTmWMAXSUKClLAYWUSwFLAoaUSwFLAksDh5QoSwFLAksDSwR0lHSUjAF1lIwPw6TDn+KCrPCfmIAgXCAKlIwBYpRDAgD/lIwBc5SPlChLAZCMAWWUfZSMCV9fcHJvdG9fX5RLAYwBbJRdlGgTYXUu',
];

describe.each(BY_CPYTHON.map((text, protocol) => [protocol, Buffer.from(text, 'base64')]))(
  'protocol %i',
  (protocol, bytes) => {
    const root = load(bytes as Buffer) as Map<string, PyValue>;

    test('tells integers, floats, lists and tuples apart', () => {
      expect(root.get('a')).toEqual([
        1,
        -1,
        255,
        65536,
        -(2 ** 31),
        2 ** 40,
        2n ** 70n,
        -(2n ** 70n),
        new PyFloat(1),
        -1.5,
        Number.POSITIVE_INFINITY,
        true,
        false,
        null,
      ]);
      const tuples = [[], [1], [1, 2], [1, 2, 3], [1, 2, 3, 4]].map((items) => new PyTuple(items));
      expect(root.get('t')).toEqual(new PyTuple(tuples));
    });

    test('keeps text, bytes, sets and names as data', () => {
      expect(root.get('u')).toBe('äß€😀 \\ \n');
      expect([...root.keys()]).toEqual(['a', 't', 'u', 'b', 's', 'e', '__proto__', 'l']);
      expect(root.get('e')).toEqual(new Map());
      const list = root.get('l') as PyValue[];
      expect(list[0]).toBe(list);
      if (Number(protocol) >= 3) expect([...(root.get('b') as Uint8Array)]).toEqual([0, 255]);
      else expect((root.get('b') as PyObject).className).toBe('_codecs.encode');
      if (Number(protocol) >= 4) expect(root.get('s')).toEqual(new Set([1]));
      else expect((root.get('s') as PyObject).args).toEqual([[1]]);
    });
  },
);

test('bytes of a Python 2 string are UTF-8 where they can be, else Latin-1', () => {
  expect(load('U\x02\xc3\xa4.')).toBe('ä');
  expect(load('U\x02\xe4\xff.')).toBe('äÿ');
  expect(load("S'a\\'\\x41\\n'\n.")).toBe("a'A\n");
  expect(refused("S'\\q'\n.").message).toMatch(/quoted string/);
});

test('a byte order mark is part of the text', () => {
  expect(load(pickle('\ufeffa'))).toBe('\ufeffa');
});

test('an unknown class becomes an inert object with its parts', () => {
  const object = load(pickle(instance('my_project.models.Net', dict({ depth: 3 })))) as PyObject;
  expect(object).toBeInstanceOf(PyObject);
  expect(object.className).toBe('my_project.models.Net');
  expect(object.state).toEqual(new Map([['depth', 3]]));
  expect(load(pickle(call('a.f', 1, tuple(2))))).toEqual(new PyObject('a.f', [1, new PyTuple([2])]));
  expect(load(pickle(global('torch.float32')))).toEqual(new PyGlobal('torch.float32'));
  // Subclasses of dict and list fill themselves by SETITEMS and APPENDS.
  const subclass = Buffer.concat([
    global('a.Dict'),
    Buffer.from(')\x81(', 'latin1'),
    item('k'),
    item(1),
    Buffer.from('u'),
  ]);
  expect((load(pickle(subclass)) as PyObject).items).toEqual([['k', 1]]);
});

describe('a pickle that calls what acts is refused, however it gets there', () => {
  test.each([
    ['REDUCE', pickle(call('os.system', 'echo repfuse-canary')), 'os.system'],
    ['deep in harmless data', pickle(dict({ a: [[tuple(call('builtins.eval', '1'))]] })), 'builtins.eval'],
    ['INST', "(S'echo'\niposix\nsystem\n.", 'posix.system'],
    ['OBJ', "(csubprocess\nPopen\nS'echo'\no.", 'subprocess.Popen'],
    ['NEWOBJ', pickle(instance('subprocess.Popen', null)), 'subprocess.Popen'],
    [
      'NEWOBJ_EX',
      Buffer.concat([Buffer.from([0x80, 4]), global('runpy.run_path'), Buffer.from(')}\x92.', 'latin1')]),
      'runpy',
    ],
    [
      'STACK_GLOBAL',
      Buffer.concat([Buffer.from([0x80, 4]), item('os'), item('system'), Buffer.from('\x93)R.', 'latin1')]),
      'os.system',
    ],
    ['the result of a call', pickle(Buffer.concat([call('a.f'), Buffer.from(')R')])), 'a.f'],
  ])('%s', (_, bytes, name) => {
    expect(refused(bytes).message).toContain(name);
  });
});

describe('malformed pickles are refused with the byte offset', () => {
  test.each<[string, string, number, RegExp]>([
    ['nothing', '', 0, /STOP/],
    ['no STOP', 'N', 1, /STOP/],
    ['pop of an empty stack', '0.', 0, /stack/],
    ['STOP with nothing', '.', 0, /stack/],
    ['a mark as the result', '(.', 1, /stack/],
    ['an unknown opcode', 'N\xff.', 1, /0xff/],
    ['protocol 9', '\x80\x09.', 0, /protocol 9/],
    ['a string of 2 GiB', 'X\xff\xff\xff\x7f.', 0, /truncated/],
    ['a negative length', 'T\xff\xff\xff\xff.', 0, /truncated/],
    ['a length beyond 2^53', '\x8d\xff\xff\xff\xff\xff\xff\xff\xff.', 0, /too large/],
    ['an integer of a megabyte', `\x8b\x00\x00\x10\x00${'\x01'.repeat(1 << 20)}.`, 0, /1048576 bytes/],
    ['a memo that was never stored', 'h\x07.', 0, /memo 7/],
    ['a memo that is no number', 'gx\n.', 0, /memo index/],
    ['an integer that is none', 'I1e3\n.', 0, /integer/],
    ['a float that is none', 'Fx\n.', 0, /number/],
    ['a line without end', 'I12', 0, /line/],
    ['text that is not UTF-8', 'X\x01\x00\x00\x00\xff.', 0, /UTF-8/],
    ['a code point beyond Unicode', 'V\\Uffffffff\n.', 0, /unicode/],
    ['a key without a value', '}(Nu.', 3, /no value/],
    ['items of no dict', 'N(NNu.', 4, /no dict/],
    ['append to no list', 'NNa.', 2, /no list/],
    ['items of no set', 'N(N\x90.', 3, /no set/],
    ['no mark', 'Nt.', 1, /mark/],
    ['arguments that are no tuple', 'cos\nsystem\n]R.', 12, /tuple/],
    ['a call of a number', 'K\x01)R.', 3, /no class/],
    ['a global without a name', 'NN\x93.', 2, /name/],
    ['an object without a class', '(o.', 1, /class/],
    ['a persistent id that nobody knows', 'NQ.', 1, /persistent/],
  ])('%s', (_, bytes, offset, message) => {
    const error = refused(bytes);
    expect(error.message).toMatch(message);
    expect(error.details.offset).toBe(offset);
    expect(error.message).toContain(`byte ${offset}`);
  });

  test.each([
    ['the stack', `${'N'.repeat((1 << 20) + 2)}.`, /stack holds/],
    ['the memo', `N${'\x94'.repeat((1 << 21) + 1)}.`, /memo holds/],
    ['objects', `${'}0'.repeat((1 << 20) + 1)}.`, /objects/],
    // One list of 2000, handed to 1000 constructors that may copy it.
    ['copies', `](${'N'.repeat(2000)}eq\x000${'ca\nf\n(h\x00tR0'.repeat(1000)}.`, /objects/],
  ])('a limit on %s', (_, bytes, message) => {
    expect(refused(bytes).message).toMatch(message);
  });

  test('200,000 nested lists are only data', () => {
    expect(load(`${']'.repeat(200_000)}${'a'.repeat(199_999)}.`)).toHaveLength(1);
  });
});
