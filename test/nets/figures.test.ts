import { inferShapes } from '../../lib/graph';
import { NET_NAMES, type NetName, netFigures } from '../../lib/nets';
import { ARCHITECTURES } from '../../lib/nets/architecture';
import { KEY_NAMES } from '../../lib/nets/key-names';
import { graphOf } from '../../lib/nets/net-graph';
import { specsOf } from '../../lib/nets/net-tensors';
import { elementCount } from '../../lib/tensor/tensor';

/** Parameters in training and deploy form, and their multiply-accumulates in G as published (timm), shared/family.md section 6. */
const PUBLISHED: Readonly<Record<NetName, readonly [number, number, number, number]>> = {
  repvgg_a0: [9_108_968, 8_309_384, 1.52, 1.36],
  repvgg_a1: [14_092_264, 12_789_864, 2.64, 2.36],
  repvgg_a2: [28_210_600, 25_499_944, 5.7, 5.12],
  repvgg_b0: [15_817_960, 14_339_048, 3.41, 3.06],
  repvgg_b1: [57_415_016, 51_829_480, 13.16, 11.82],
  repvgg_b1g2: [45_782_376, 41_360_104, 9.8, 8.81],
  repvgg_b1g4: [39_966_056, 36_125_416, 8.15, 7.31],
  repvgg_b2: [89_022_376, 80_315_112, 20.45, 18.38],
  repvgg_b2g2: [70_846_376, 63_956_712, 15.2, 13.7],
  repvgg_b2g4: [61_758_376, 55_777_512, 12.63, 11.33],
  repvgg_b3: [123_085_288, 110_960_872, 29.16, 26.21],
  repvgg_b3g2: [96_911_848, 87_404_776, 21.6, 19.4],
  repvgg_b3g4: [83_825_128, 75_626_728, 17.89, 16.06],
  repvgg_d2se: [133.33e6, 120.39e6, 74.57, 66.99],
  mobileone_s0: [5_293_272, 2_078_504, 1.09, 0.28],
  mobileone_s1: [4_825_192, 4_764_840, 0.86, 0.83],
  mobileone_s2: [7_884_648, 7_808_168, 1.34, 1.3],
  mobileone_s3: [10_170_600, 10_078_312, 1.94, 1.9],
  mobileone_s4: [14_951_248, 14_838_352, 3.04, 2.98],
};

/** These were calculated from the convolutions alone; the others, measured with fvcore, count two for each value out of a BatchNorm. */
const CALCULATED: readonly NetName[] = ['repvgg_b1g2', 'repvgg_b2g2', 'repvgg_b3g2'];

/** A published figure, and ours rounded to its digits. */
function atSamePrecision(published: number, value: number): readonly [string, string] {
  const digits = (String(published).split('.')[1] ?? '').length;
  return [published.toFixed(digits), value.toFixed(digits)];
}

function batchNormValues(name: NetName): number {
  const architecture = ARCHITECTURES[name];
  const names = KEY_NAMES[architecture.family].native;
  const graph = graphOf(architecture, names, () => 'train');
  const specs = specsOf(architecture, names, () => 'train', 1000);
  const stubs = new Map([...specs].map(([key, { shape }]) => [key, { dtype: 'F32' as const, shape }]));
  const shapes = inferShapes(graph, [1, ...graph.inputShape!], stubs);
  const batchNorms = graph.nodes.filter(({ op }) => op === 'batch_norm');
  return batchNorms.reduce((sum, { id }) => sum + elementCount(shapes.get(id)!), 0);
}

test.each(NET_NAMES)('%s: parameters and multiply-accumulates as published', (name) => {
  const [trainParameters, deployParameters, trainMacs, deployMacs] = PUBLISHED[name];
  const train = netFigures(name);
  const deploy = netFigures(name, { form: 'deploy', names: 'timm' });
  const ofBatchNorms = CALCULATED.includes(name) ? 0 : 2 * batchNormValues(name);
  const pairs = [
    atSamePrecision(trainMacs, (train.macs + ofBatchNorms) / 1e9),
    atSamePrecision(deployMacs, deploy.macs / 1e9),
    name === 'repvgg_d2se'
      ? atSamePrecision(trainParameters / 1e6, train.parameters / 1e6)
      : [trainParameters, train.parameters],
    name === 'repvgg_d2se'
      ? atSamePrecision(deployParameters / 1e6, deploy.parameters / 1e6)
      : [deployParameters, deploy.parameters],
  ];
  expect(pairs.map(([, ours]) => ours)).toEqual(pairs.map(([published]) => published));
});
