import { PRECISION_BOUNDS, PRECISIONS, type PrecisionReport } from '../engine';
import { formatShapes } from './input-shapes';
import { formatError, formatTable } from './table';

/** Every layer in each precision, the worst first, and the network. */
export function formatPrecision({ input, inputs, threads, network, layers }: PrecisionReport): string {
  const micro = (seconds: number | null) => (seconds === null ? '-' : (seconds * 1e6).toFixed(0));
  const rows = layers.map(({ layer, output, measures }) => [
    layer,
    output.slice(1).join('x'),
    ...PRECISIONS.flatMap((precision) => {
      const { kernel, seconds, error, errorOfMagnitudes } = measures[precision];
      return [kernel, micro(seconds), formatError(error), formatError(errorOfMagnitudes)];
    }),
  ]);
  const whole = PRECISIONS.map((precision) => {
    const { seconds, error, agreeing } = network[precision];
    return [
      precision,
      (seconds * 1e3).toFixed(3),
      (network.f32.seconds / seconds).toFixed(2),
      formatError(error),
      agreeing === null ? '-' : `${agreeing} of ${input[0]}`,
    ];
  });
  const promised = PRECISIONS.map((precision) => `${precision} promises ${PRECISION_BOUNDS[precision]}`).join(', ');
  return [
    formatTable(['layer', 'output', ...PRECISIONS.flatMap((precision) => [precision, 'us', '/peak', '/terms'])], rows),
    `error: the largest difference from float64, over the peak of the result and over the largest sum of magnitudes of its terms, of which ${promised}`,
    '',
    `${formatShapes(inputs ?? input)}, ${threads} threads, beside float64:`,
    formatTable(['precision', 'ms', 'times f32', 'error/peak', 'same largest class'], whole),
  ].join('\n');
}
