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

/** A long string that stays in the file: where it lies, and how it is written there. */
export class PyData {
  constructor(
    readonly offset: number,
    readonly length: number,
    readonly encoding: 'bytes' | 'utf8',
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
  | PyData
  | PyGlobal
  | PyObject
  | PyValue[]
  | PyDict
  | Set<PyValue>
  | object;
