import { callNative } from '../native/call';

/** Takes some milliseconds. */
const PROBE_ROUNDS = 1_000_000;

let peak: number | undefined;

/** Multiply-accumulates a second in the registers of one thread, measured once: the limit of any kernel. */
export function peakMacs(): number {
  if (peak !== undefined) return peak;
  const flops = new Float64Array(1);
  const seconds = Array.from({ length: 3 }, () => {
    const started = performance.now();
    callNative('fmaProbe', { rounds: PROBE_ROUNDS, threads: 1, flops });
    return (performance.now() - started) / 1e3;
  });
  peak = flops[0]! / 2 / Math.min(...seconds);
  return peak;
}
