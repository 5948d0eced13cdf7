/** Images in float64, for references by the definition. */
export interface Float64Image {
  readonly shape: readonly [n: number, channels: number, height: number, width: number];
  readonly data: Float64Array;
}

/** Of what each pixel is. */
export function imageOf(
  shape: Float64Image['shape'],
  of: (n: number, c: number, y: number, x: number) => number,
): Float64Image {
  const [n, channels, height, width] = shape;
  const data = new Float64Array(n * channels * height * width);
  let at = 0;
  for (let i = 0; i < n; i++)
    for (let c = 0; c < channels; c++)
      for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) data[at++] = of(i, c, y, x);
  return { shape, data };
}

/** 0 outside. */
export function pixelOf({ shape, data }: Float64Image, n: number, c: number, y: number, x: number): number {
  const [, channels, height, width] = shape;
  return y < 0 || x < 0 || y >= height || x >= width ? 0 : data[((n * channels + c) * height + y) * width + x]!;
}
