import {
  addBranches,
  alignTo,
  averagePool,
  composeSequential,
  concatOutputs,
  conv,
  foldBatchNorm,
  fromBranch,
  identity,
  materialize,
  scale,
} from '../../lib/algebra';
import type { ErrorCode } from '../../lib/errors';
import { Tensor } from '../../lib/tensor/tensor';
import { Random } from '../support/random';

const random = new Random(7);
const make = (out: number, perGroup: number, size: readonly [number, number], options = {}, bias = false) =>
  conv(
    Tensor.f32([out, perGroup, ...size], random.floats(out * perGroup * size[0] * size[1])),
    bias ? Tensor.f32([out], random.floats(out)) : null,
    options,
  );
const vector = (...values: number[]) => Tensor.f32([values.length], values);
const statistics = (change: object = {}) => ({
  runningMean: vector(0, 0),
  runningVar: vector(1, 1),
  eps: 1e-5,
  ...change,
});

interface Refusal {
  readonly what: string;
  readonly code: ErrorCode;
  readonly message: RegExp;
  readonly attempt: () => unknown;
}

const refusals: readonly Refusal[] = [
  {
    what: 'a BatchNorm without running_mean',
    code: 'ERR_REPFUSE_NOT_FUSABLE',
    message: /running_mean.* for block\.bn /,
    attempt: () => foldBatchNorm(make(2, 2, [1, 1]), statistics({ runningMean: null }), { name: 'block.bn' }),
  },
  {
    what: 'a GroupNorm, which has no statistics at all',
    code: 'ERR_REPFUSE_NOT_FUSABLE',
    message: /received neither/,
    attempt: () => foldBatchNorm(make(2, 2, [1, 1]), statistics({ runningMean: undefined, runningVar: undefined })),
  },
  {
    what: 'var + eps = 0',
    code: 'ERR_REPFUSE_NOT_FUSABLE',
    message: /running_var \+ eps > 0 .* 0 \+ 0 in channel 1/,
    attempt: () => foldBatchNorm(make(2, 2, [1, 1]), statistics({ runningVar: vector(1, 0), eps: 0 })),
  },
  {
    what: 'a negative variance',
    code: 'ERR_REPFUSE_NOT_FUSABLE',
    message: /channel 0/,
    attempt: () => foldBatchNorm(make(2, 2, [1, 1]), statistics({ runningVar: vector(-1, 1) })),
  },
  {
    what: 'a NaN mean',
    code: 'ERR_REPFUSE_NOT_FINITE',
    message: /running_mean but received NaN in channel 1/,
    attempt: () => foldBatchNorm(make(2, 2, [1, 1]), statistics({ runningMean: vector(0, Number.NaN) })),
  },
  {
    what: 'an eps that is no number',
    code: 'ERR_REPFUSE_INVALID_ARGUMENT',
    message: /eps/,
    attempt: () => foldBatchNorm(make(2, 2, [1, 1]), statistics({ eps: Number.NaN })),
  },
  {
    what: 'a BatchNorm of other channels',
    code: 'ERR_REPFUSE_SHAPE',
    message: /3 values .* \[2\]/,
    attempt: () => foldBatchNorm(make(3, 2, [1, 1]), statistics()),
  },
  {
    what: 'an infinite scale',
    code: 'ERR_REPFUSE_NOT_FINITE',
    message: /Infinity/,
    attempt: () => scale(make(2, 2, [1, 1]), Number.POSITIVE_INFINITY),
  },
  {
    what: 'a weight that is no kernel',
    code: 'ERR_REPFUSE_SHAPE',
    message: /\[out, in \/ groups, height, width\] for fc\.weight but received \[2, 3\]/,
    attempt: () => conv(Tensor.f32([2, 3]), null, { name: 'fc.weight' }),
  },
  {
    what: 'an integer weight',
    code: 'ERR_REPFUSE_INVALID_ARGUMENT',
    message: /floating-point type .* I8/,
    attempt: () => conv(new Tensor('I8', [1, 1, 1, 1], new Int8Array(1)), null),
  },
  {
    what: 'groups that do not divide the outputs',
    code: 'ERR_REPFUSE_SHAPE',
    message: /divide 3 output channels .* received 2/,
    attempt: () => make(3, 2, [1, 1], { groups: 2 }),
  },
  {
    what: 'a bias of another length',
    code: 'ERR_REPFUSE_SHAPE',
    message: /2 values for the bias/,
    attempt: () => conv(Tensor.f32([2, 1, 1, 1]), vector(1, 2, 3)),
  },
  {
    what: 'an identity in groups that do not divide it',
    code: 'ERR_REPFUSE_SHAPE',
    message: /received 6 and 4/,
    attempt: () => identity(6, 4),
  },
  {
    what: 'a sum of unequal strides',
    code: 'ERR_REPFUSE_SHAPE',
    message: /stride \[2,2\] for branch 1 but received \[1,1\]/,
    attempt: () => addBranches([make(2, 2, [3, 3], { stride: 2, padding: 1 }), make(2, 2, [1, 1])]),
  },
  {
    what: 'a sum of unequal channels',
    code: 'ERR_REPFUSE_SHAPE',
    message: /2 -> 2 channels for branch 1 but received 2 -> 3/,
    attempt: () => addBranches([make(2, 2, [1, 1]), make(3, 2, [1, 1])]),
  },
  {
    what: 'a sum of unequal output sizes',
    code: 'ERR_REPFUSE_SHAPE',
    message: /equal output sizes for every input/,
    attempt: () => addBranches([make(2, 2, [3, 3], { padding: 1 }), make(2, 2, [5, 5], { padding: 1 })]),
  },
  {
    what: 'a sum whose output sizes differ for the given input',
    code: 'ERR_REPFUSE_SHAPE',
    message: /output size 4 .* input size 7 but received 3/,
    attempt: () =>
      addBranches([make(2, 2, [1, 1], { stride: 2 }), make(2, 2, [2, 2], { stride: 2 })], { inputSize: [7, 7] }),
  },
  {
    what: 'no branches',
    code: 'ERR_REPFUSE_INVALID_ARGUMENT',
    message: /at least one branch/,
    attempt: () => addBranches([]),
  },
  {
    what: 'a tap between those of the grid',
    code: 'ERR_REPFUSE_INEXACT',
    message: /taps on the grid/,
    attempt: () => alignTo(make(2, 2, [1, 1]), { kernel: 2, padding: [1, 1, 1, 1], dilation: 2 }),
  },
  {
    what: 'a tap beyond the grid',
    code: 'ERR_REPFUSE_INEXACT',
    message: /taps on the grid/,
    attempt: () => alignTo(make(2, 2, [1, 1]), { kernel: 3, padding: [-1, -1, 3, 3] }),
  },
  {
    what: 'a grid of another output size',
    code: 'ERR_REPFUSE_INEXACT',
    message: /same output size/,
    attempt: () => alignTo(make(2, 2, [1, 1]), { kernel: 3, padding: 0 }),
  },
  {
    what: 'a biased 1x1 before a zero-padded 3x3',
    code: 'ERR_REPFUSE_INEXACT',
    message: /allowInexactBorder/,
    attempt: () => composeSequential(make(2, 2, [1, 1], {}, true), make(2, 2, [3, 3], { padding: 1 })),
  },
  {
    what: 'a padded 3x3 before a padded 1x1',
    code: 'ERR_REPFUSE_INEXACT',
    message: /beyond the border/,
    attempt: () => composeSequential(make(2, 2, [3, 3], { padding: 1 }), make(2, 2, [1, 1], { padding: 1 })),
  },
  {
    what: 'a cropping 1x1 before a padded 3x3',
    code: 'ERR_REPFUSE_INEXACT',
    message: /beyond the border/,
    attempt: () => composeSequential(make(2, 2, [1, 1], { padding: -1 }), make(2, 2, [3, 3], { padding: 1 })),
  },
  {
    what: 'a composition of unequal channels',
    code: 'ERR_REPFUSE_SHAPE',
    message: /Expected 2 input channels .* received 3/,
    attempt: () => composeSequential(make(2, 2, [1, 1]), make(2, 3, [1, 1])),
  },
  {
    what: 'a concatenation with a shared input of unequal channels',
    code: 'ERR_REPFUSE_SHAPE',
    message: /convolution 1 of a shared input/,
    attempt: () => concatOutputs([make(2, 2, [1, 1]), make(2, 3, [1, 1])]),
  },
  {
    what: 'a concatenation of unequal strides',
    code: 'ERR_REPFUSE_SHAPE',
    message: /stride/,
    attempt: () => concatOutputs([make(2, 2, [1, 1]), make(2, 2, [1, 1], { stride: 2 })]),
  },
  {
    what: 'nothing to concatenate',
    code: 'ERR_REPFUSE_INVALID_ARGUMENT',
    message: /at least one convolution/,
    attempt: () => concatOutputs([]),
  },
  {
    what: 'average pooling that does not count its padding',
    code: 'ERR_REPFUSE_INEXACT',
    message: /allowInexactBorder/,
    attempt: () => averagePool({ channels: 2, kernel: 3, stride: 1, padding: 1, countIncludePad: false }),
  },
  {
    what: 'ceil mode with an unknown input size',
    code: 'ERR_REPFUSE_INEXACT',
    message: /no inputSize/,
    attempt: () => averagePool({ channels: 2, kernel: 2, ceilMode: true }),
  },
  {
    what: 'ceil mode with a partial window, whatever is allowed at the border',
    code: 'ERR_REPFUSE_INEXACT',
    message: /input size 7/,
    attempt: () => averagePool({ channels: 2, kernel: 2, ceilMode: true, inputSize: [8, 7], allowInexactBorder: true }),
  },
  {
    what: 'a divisor of zero',
    code: 'ERR_REPFUSE_INVALID_ARGUMENT',
    message: /divisorOverride/,
    attempt: () => averagePool({ channels: 2, kernel: 2, divisorOverride: 0 }),
  },
  {
    what: 'a branch that does not tell its channels',
    code: 'ERR_REPFUSE_INVALID_ARGUMENT',
    message: /option channels for branch skip/,
    attempt: () => fromBranch({ name: 'skip', stages: [] }),
  },
  {
    what: 'groups into which a branch does not fit',
    code: 'ERR_REPFUSE_SHAPE',
    message: /4 -> 4 channels of dense fit but received 2/,
    attempt: () =>
      fromBranch(
        {
          name: 'dense',
          stages: [
            {
              kind: 'conv2d',
              weight: Tensor.f32([4, 4, 1, 1]),
              stride: [1, 1],
              padding: [0, 0, 0, 0],
              dilation: [1, 1],
              groups: 1,
            },
          ],
        },
        { groups: 2 },
      ),
  },
  {
    what: 'a stored difference to the identity that is no 1x1 kernel',
    code: 'ERR_REPFUSE_SHAPE',
    message: /1x1 kernel .* for id stage 0/,
    attempt: () =>
      fromBranch({
        name: 'id',
        stages: [
          {
            kind: 'conv2d',
            weight: Tensor.f32([4, 4, 3, 3]),
            stride: [1, 1],
            padding: [1, 1, 1, 1],
            dilation: [1, 1],
            groups: 1,
            plusIdentity: true,
          },
        ],
      }),
  },
  {
    what: 'a target array of another length',
    code: 'ERR_REPFUSE_INVALID_ARGUMENT',
    message: /weight/,
    attempt: () => materialize(make(2, 2, [1, 1]), { into: new Float32Array(5) }),
  },
  {
    what: 'threads out of range',
    code: 'ERR_REPFUSE_INVALID_ARGUMENT',
    message: /threads/,
    attempt: () => materialize(make(2, 2, [1, 1]), { threads: 0 }),
  },
];

test.each(refusals)('refuses $what', ({ attempt, code, message }) => {
  expect(attempt).toThrow(expect.objectContaining({ code, message: expect.stringMatching(message) }));
});

describe('what looks alike but is exact', () => {
  const accepts = (run: () => unknown) => expect(run).not.toThrow();

  test('compositions', () => {
    accepts(() => composeSequential(make(2, 2, [1, 1], {}, true), make(2, 2, [3, 3])));
    accepts(() => composeSequential(make(2, 2, [1, 1]), make(2, 2, [3, 3], { padding: 1 })));
    accepts(() =>
      composeSequential(make(2, 2, [1, 1], {}, true), make(2, 2, [3, 3], { padding: 1 }), { border: 'bias' }),
    );
    accepts(() => composeSequential(make(2, 2, [3, 3], { padding: 1 }, true), make(2, 2, [1, 1])));
    accepts(() => composeSequential(make(2, 2, [3, 3], { padding: 2 }), make(2, 2, [1, 1], { padding: 1 })));
    accepts(() => composeSequential(make(2, 2, [1, 1], {}, true), make(2, 2, [3, 3], { padding: -1 })));
  });

  test('pooling', () => {
    accepts(() => averagePool({ channels: 2, kernel: 3, stride: 1, countIncludePad: false }));
    accepts(() =>
      averagePool({ channels: 2, kernel: 3, stride: 1, padding: 1, countIncludePad: false, divisorOverride: 5 }),
    );
    accepts(() => averagePool({ channels: 2, kernel: 3, stride: 1, padding: 1, ceilMode: true }));
    accepts(() => averagePool({ channels: 2, kernel: 2, ceilMode: true, inputSize: [8, 6] }));
  });

  test('sums for one input size', () => {
    const sum = addBranches([make(2, 2, [1, 1], { stride: 2 }), make(2, 2, [2, 2], { stride: 2 })], {
      inputSize: [8, 6],
    });
    expect(sum.outputSize([8, 6])).toEqual([4, 3]);
  });
});
