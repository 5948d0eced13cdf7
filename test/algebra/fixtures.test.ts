import { materialize } from '../../lib/algebra';
import { conv2d } from '../../lib/ops';
import { peakError } from '../support/compare';
import { fixtureCases, fixturePath, readFixtureTensors, readManifest } from '../support/fixtures';
import { availableIsas, withIsa } from '../support/isa';
import { denseToGroups } from '../support/reference-algebra';
import { referenceConv2d } from '../support/reference-conv';
import { worstUlp } from '../support/ulp';
import { buildTransform, tensorOf } from './transforms';

describe.each(fixtureCases('transforms'))('transforms/%s', (name) => {
  const manifest = readManifest('transforms', name);
  const tensors = readFixtureTensors(fixturePath('transforms', manifest.files.tensors));
  const inexact = manifest.expect === 'inexact_border';
  const { fused, reference } = buildTransform(manifest, tensors, inexact);
  const { groups } = fused;
  const data = (tensor: string) => tensors.get(tensor)!.data as Float64Array;

  test('has the geometry of the manifest', () => {
    const { kernel, stride, padding, dilation, in_channels, out_channels, groups } = manifest.fused;
    expect({ ...fused, value: undefined }).toEqual({
      inChannels: in_channels,
      outChannels: out_channels,
      padding: [...padding, ...padding],
      kernel,
      stride,
      dilation,
      groups,
      value: undefined,
    });
  });

  test('is within 1 ulp of the float64 values, with the same bits at every CPU level and thread count', () => {
    const { weight, bias } = materialize(fused, { threads: 1 });
    const exact = tensors.has('fused.weight@f64')
      ? data('fused.weight@f64')
      : denseToGroups(reference, reference.weight, groups); // too large to be stored
    expect(weight.shape).toEqual(tensors.get('fused.weight')!.shape);
    const terms = denseToGroups(reference, reference.weightTerms, groups);
    expect(worstUlp(weight.data as Float32Array, exact, terms)).toBeLessThanOrEqual(1);
    expect(worstUlp(bias.data as Float32Array, data('fused.bias@f64'), reference.biasTerms)).toBeLessThanOrEqual(1);
    expect(peakError(weight.data as Float32Array, data('fused.weight'))).toBeLessThanOrEqual(
      manifest.tolerance.fused_weight_rel,
    );
    for (const isa of availableIsas()) {
      for (const threads of [1, 2, 3, 7]) {
        const again = withIsa(isa, () => materialize(fused, { threads }));
        expect(Buffer.compare(bytes(again.weight.data), bytes(weight.data))).toBe(0);
        expect(Buffer.compare(bytes(again.bias.data), bytes(bias.data))).toBe(0);
      }
    }
  });

  test(inexact ? 'yields output_fused' : 'yields the output of the unfused form', () => {
    const { weight, bias } = materialize(fused);
    const want = data(inexact ? 'output_fused@f64' : 'output@f64');
    const { stride, padding, dilation } = fused;
    const input = tensorOf(tensors, 'input')!;
    const own = conv2d(input, weight, bias, { stride, padding, dilation, groups });
    expect(peakError(own.data as Float32Array, want)).toBeLessThanOrEqual(manifest.tolerance.fused_output_rel_peak_f32);
    const independent = referenceConv2d({
      input: input.data as Float32Array,
      inputShape: input.shape,
      weight: weight.data as Float32Array,
      weightShape: weight.shape,
      bias: bias.data as Float32Array,
      stride,
      padding,
      dilation,
      groups,
    });
    expect(independent.shape).toEqual(tensors.get('output')!.shape);
    expect(peakError(independent.data, want)).toBeLessThanOrEqual(2e-7);
  });

  if (inexact) {
    test('is refused unless inexact borders are allowed', () => {
      expect(() => buildTransform(manifest, tensors)).toThrow(
        expect.objectContaining({
          code: 'ERR_REPFUSE_INEXACT',
          message: expect.stringContaining('allowInexactBorder'),
        }),
      );
    });
  }
});

function bytes(view: ArrayBufferView): Buffer {
  return Buffer.from(view.buffer, view.byteOffset, view.byteLength);
}
