/** Independent float64 reference of conv2d: the definition, nothing else. Layouts NCHW and OIHW. */
export interface ReferenceConv {
  readonly input: ArrayLike<number>;
  readonly inputShape: readonly number[];
  readonly weight: ArrayLike<number>;
  readonly weightShape: readonly number[];
  readonly bias?: ArrayLike<number> | null | undefined;
  readonly stride: readonly [number, number];
  /** [top, left, bottom, right]; negative crops. */
  readonly padding: readonly [number, number, number, number];
  readonly dilation: readonly [number, number];
  readonly groups: number;
}

export function referenceConv2d(c: ReferenceConv): { shape: readonly number[]; data: Float64Array } {
  const [batch, inChannels, height, width] = c.inputShape as [number, number, number, number];
  const [outChannels, inPerGroup, kh, kw] = c.weightShape as [number, number, number, number];
  const [top, left, bottom, right] = c.padding;
  const [strideY, strideX] = c.stride;
  const [dilationY, dilationX] = c.dilation;
  const outHeight = Math.floor((height + top + bottom - dilationY * (kh - 1) - 1) / strideY) + 1;
  const outWidth = Math.floor((width + left + right - dilationX * (kw - 1) - 1) / strideX) + 1;
  const outPerGroup = outChannels / c.groups;
  const input = Float64Array.from(c.input);
  const weight = Float64Array.from(c.weight);
  const pixels = outHeight * outWidth;
  const data = new Float64Array(batch * outChannels * pixels);
  for (let n = 0; n < batch; n++) {
    for (let o = 0; o < outChannels; o++) {
      const first = (n * outChannels + o) * pixels;
      data.fill(c.bias?.[o] ?? 0, first, first + pixels);
      // Each tap of the kernel meets the whole image in turn: every output adds its terms in the same order.
      for (let i = 0; i < inPerGroup; i++) {
        const channel = n * inChannels + Math.floor(o / outPerGroup) * inPerGroup + i;
        for (let u = 0; u < kh; u++) {
          for (let v = 0; v < kw; v++) {
            const factor = weight[((o * inPerGroup + i) * kh + u) * kw + v]!;
            for (let oy = 0; oy < outHeight; oy++) {
              const iy = oy * strideY - top + u * dilationY;
              if (iy < 0 || iy >= height) continue;
              const from = (channel * height + iy) * width;
              const to = first + oy * outWidth;
              for (let ox = 0; ox < outWidth; ox++) {
                const ix = ox * strideX - left + v * dilationX;
                if (ix >= 0 && ix < width) data[to + ox]! += input[from + ix]! * factor;
              }
            }
          }
        }
      }
    }
  }
  return { shape: [batch, outChannels, outHeight, outWidth], data };
}
