const SHOWN = 40;

/** A key or name of any length, fit for a message. */
export function shorten(text: string): string {
  return text.length <= SHOWN ? text : `${text.slice(0, SHOWN)}...`;
}
