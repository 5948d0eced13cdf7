import { type DescField, type DescMessage, ScalarType } from '@bufbuild/protobuf';

/** Bytes that JavaScript takes for what two bytes of a file may stand for: a message, an element of a list, a field that is not known. */
export const MESSAGE = 300;
const STRING = 40;
const BYTES = 120;
const BIG_INTEGER = 32;
const NUMBER = 8;
const UNKNOWN_FIELD = 200;

/**
 * About how much memory a message takes when it is read, beyond its strings and bytes themselves: the fields of its bytes are counted, nothing is
 * kept. What is malformed ends the count, as it ends the reading.
 */
export function messageSize(bytes: Uint8Array, message: DescMessage, most: number): number {
  const walk = new Walk(bytes, most);
  walk.message(message, bytes.length);
  return walk.size;
}

/** The reader of protobuf-es goes no deeper. */
const MAX_DEPTH = 100;

class Walk {
  size = 0;
  private at = 0;
  private depth = 0;
  private readonly fields = new Map<DescMessage, ReadonlyMap<number, DescField>>();

  constructor(
    private readonly bytes: Uint8Array,
    private readonly most: number,
  ) {}

  message(type: DescMessage, end: number): void {
    if (++this.depth > MAX_DEPTH) this.stop();
    const fields = this.fieldsOf(type);
    let groups = 0; // which the format does not have: what is in them is not known
    while (this.at < end && this.size <= this.most) {
      const tag = this.varint();
      const field = groups > 0 ? undefined : fields.get(Math.floor(tag / 8));
      if (field === undefined) this.size += UNKNOWN_FIELD;
      const wire = tag % 8;
      if (wire === 2) this.delimited(field, this.varint());
      else if (wire === 0 || wire === 1 || wire === 5) {
        if (field?.fieldKind === 'list') this.size += elementSize(field);
        if (wire === 0) this.varint();
        else this.at += wire === 1 ? 8 : 4;
      } else if (wire === 3) groups++;
      else if (wire !== 4 || --groups < 0) this.stop();
    }
    this.depth--;
  }

  private delimited(field: DescField | undefined, length: number): void {
    const end = this.at + length;
    if (field?.message) {
      this.size += MESSAGE;
      this.message(field.message, end);
    } else if (field?.fieldKind === 'list') this.list(field, end);
    this.at = Math.max(this.at, end);
  }

  private list(field: DescField & { fieldKind: 'list' }, end: number): void {
    const each = elementSize(field);
    const length = Math.min(end, this.bytes.length) - this.at;
    if (each === STRING || each === BYTES) this.size += each;
    else if (field.scalar === ScalarType.FLOAT) this.size += (each * length) / 4;
    else if (field.scalar === ScalarType.DOUBLE) this.size += (each * length) / 8;
    else for (let i = 0; i < length; i++) if (this.bytes[this.at + i]! < 128) this.size += each;
  }

  private varint(): number {
    let value = 0;
    for (let scale = 1; this.at < this.bytes.length; scale *= 128) {
      const byte = this.bytes[this.at++]!;
      value += (byte % 128) * scale;
      if (byte < 128) return value;
    }
    this.stop();
    return 0;
  }

  private stop(): void {
    this.at = Number.POSITIVE_INFINITY;
  }

  private fieldsOf(type: DescMessage): ReadonlyMap<number, DescField> {
    const fields = this.fields.get(type) ?? new Map(type.fields.map((field) => [field.number, field]));
    this.fields.set(type, fields);
    return fields;
  }
}

function elementSize(field: DescField & { fieldKind: 'list' }): number {
  if (field.listKind === 'message') return MESSAGE;
  if (field.scalar === ScalarType.STRING) return STRING;
  if (field.scalar === ScalarType.BYTES) return BYTES;
  return field.scalar === ScalarType.INT64 || field.scalar === ScalarType.UINT64 ? BIG_INTEGER : NUMBER;
}
