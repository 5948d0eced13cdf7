import { newFloat32Array } from './tensor';

const { imul } = Math;

/**
 * Seeded uniform numbers in [0, 1): the splitmix-style generator "mulberry32" (public domain). Same seed, same sequence, on
 * every machine.
 */
export function seededUniform(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = imul(state ^ (state >>> 15), state | 1);
    t ^= t + imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** `count` float32 values, uniform in [low, high). */
export function uniformValues(uniform: () => number, count: number, low: number, high: number): Float32Array {
  const values = newFloat32Array(count);
  for (let i = 0; i < count; i++) values[i] = low + (high - low) * uniform(); // Float32Array.from takes ten times as long
  return values;
}
