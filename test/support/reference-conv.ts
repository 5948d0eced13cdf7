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
  const outHeight = Math.floor((height + top + bottom - c.dilation[0] * (kh - 1) - 1) / c.stride[0]) + 1;
  const outWidth = Math.floor((width + left + right - c.dilation[1] * (kw - 1) - 1) / c.stride[1]) + 1;
  const outPerGroup = outChannels / c.groups;
  const data = new Float64Array(batch * outChannels * outHeight * outWidth);
  let at = 0;
  for (let n = 0; n < batch; n++) {
    for (let o = 0; o < outChannels; o++) {
      const firstInput = Math.floor(o / outPerGroup) * inPerGroup;
      for (let oy = 0; oy < outHeight; oy++) {
        for (let ox = 0; ox < outWidth; ox++) {
          let sum = c.bias?.[o] ?? 0;
          for (let i = 0; i < inPerGroup; i++) {
            for (let u = 0; u < kh; u++) {
              const iy = oy * c.stride[0] - top + u * c.dilation[0];
              if (iy < 0 || iy >= height) continue;
              for (let v = 0; v < kw; v++) {
                const ix = ox * c.stride[1] - left + v * c.dilation[1];
                if (ix < 0 || ix >= width) continue;
                const x = c.input[((n * inChannels + firstInput + i) * height + iy) * width + ix]!;
                sum += x * c.weight[((o * inPerGroup + i) * kh + u) * kw + v]!;
              }
            }
          }
          data[at++] = sum;
        }
      }
    }
  }
  return { shape: [batch, outChannels, outHeight, outWidth], data };
}
