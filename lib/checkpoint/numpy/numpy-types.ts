import type { DType } from '../../tensor/dtype';

/** numpy's types by kind and bytes. */
const TYPES: ReadonlyMap<string, DType> = new Map([
  ['f8', 'F64'],
  ['f4', 'F32'],
  ['f2', 'F16'],
  ['i8', 'I64'],
  ['i4', 'I32'],
  ['i2', 'I16'],
  ['i1', 'I8'],
  ['u1', 'U8'],
  ['u2', 'U16'],
  ['u4', 'U32'],
  ['u8', 'U64'],
  ['b1', 'BOOL'],
  ['c8', 'C64'],
]);

/** Those that ml_dtypes adds, by their class. */
const MORE_TYPES: ReadonlyMap<string, DType> = new Map([
  ['ml_dtypes.bfloat16', 'BF16'],
  ['ml_dtypes.float8_e4m3fn', 'F8_E4M3'],
  ['ml_dtypes.float8_e5m2', 'F8_E5M2'],
  ['ml_dtypes.float8_e8m0fnu', 'F8_E8M0'],
  ['ml_dtypes.float8_e4m3fnuz', 'F8_E4M3FNUZ'],
  ['ml_dtypes.float8_e5m2fnuz', 'F8_E5M2FNUZ'],
]);

/** The type of a name such as `f4`, or of a class of ml_dtypes; undefined for any other (text, objects, records, times). */
export function numpyType(name: string): DType | undefined {
  return TYPES.get(name) ?? MORE_TYPES.get(name);
}

/** numpy's name of a type, with its byte order; undefined for a type that numpy lacks. */
export function numpyDescription(dtype: DType): string | undefined {
  for (const [name, type] of TYPES) if (type === dtype) return (name.endsWith('1') ? '|' : '<') + name;
  return undefined;
}
