import { ERROR_CODES, type RepfuseError } from '../../lib/errors';

/** The RepfuseError that the work ends with; anything else fails the test. */
export async function refusal(work: Promise<unknown>): Promise<RepfuseError> {
  const error = await work.then(
    (value) => value,
    (thrown) => thrown,
  );
  expect(error?.name).toBe('RepfuseError');
  expect(ERROR_CODES).toHaveProperty(error.code);
  return error;
}

/** The RepfuseError that a call throws; anything else fails the test. */
export function refusalOf(call: () => unknown): RepfuseError {
  try {
    call();
  } catch (error) {
    expect((error as RepfuseError).name).toBe('RepfuseError');
    return error as RepfuseError;
  }
  throw new Error('it was accepted');
}
