import { type BranchRule, branch, convBn, type FamilyRule } from '../rule';

/** What a QARepVGG block may add without any key: its input, and in the second version its input averaged. */
const KEYLESS: readonly BranchRule[] = [
  { name: 'input', role: 'identity', presence: 'keyless', module: 'rbr_identity', chains: [[]] },
  { name: 'average', role: 'average', presence: 'keyless', module: 'rbr_avg', chains: [[{ avgPool: 'aligned' }]] },
];

const SE_BETWEEN = {
  key: 'se.',
  kind: 'unsupported',
  because: 'squeeze-excite stands between the sum and the BatchNorm after it, which therefore cannot be folded',
} as const;

/** QARepVGG: only the 3x3 branch has a BatchNorm, and the sum has one, which is folded. */
export const QAREPVGG: FamilyRule = {
  family: 'qarepvgg',
  source: 'Chu et al., QARepVGG, AAAI 2024; cxxgtxy/QARepVGG',
  anchor: 'rbr_dense.conv.weight',
  distinguishedBy: ['rbr_1x1.weight'],
  without: ['rbr_dense.weight'],
  branches: [
    branch('rbr_dense', 'main', 'required', convBn('rbr_dense.conv', 'rbr_dense.bn')),
    branch('rbr_1x1', 'pointwise', 'required', [{ conv: 'rbr_1x1', geometry: 'aligned' }]),
    ...KEYLESS,
  ],
  after: [{ batchNorm: 'bn' }],
  deploy: { weight: 'rbr_reparam.weight', bias: 'rbr_reparam.bias' },
  deployIsEvident: true,
  eps: 1e-5,
  ownNames: ['rbr_'],
  conflicts: [SE_BETWEEN],
};

/** The first of QARepVGG's variants: no BatchNorm but that of the sum. */
export const QAREPVGG_PLAIN: FamilyRule = {
  ...QAREPVGG,
  anchor: 'rbr_dense.weight',
  without: ['rbr_dense.conv.weight'],
  branches: QAREPVGG.branches.map((branch) =>
    branch.role === 'main' ? { ...branch, chains: [[{ conv: 'rbr_dense', geometry: 'aligned' }]] } : branch,
  ),
};

/** QARepVGG as YOLOv6 has it, whose deploy form keeps the BatchNorm of the sum. */
export const YOLOV6_QAREPVGG: FamilyRule = {
  ...QAREPVGG,
  family: 'yolov6-qarepvgg',
  source: 'meituan/YOLOv6, layers/common.py (QARepVGGBlock, QARepVGGBlockV2)',
  onlyInNetwork: true,
  after: [],
  eps: 1e-3,
  conflicts: [],
};

/** QARepVGG as YOLO-NAS has it: a factor on the 1x1 branch, and a deploy tensor that training files hold unfilled. */
export const YOLO_NAS: FamilyRule = {
  family: 'yolo-nas',
  source: 'Deci-AI/super-gradients, modules/qarepvgg_block.py',
  anchor: 'branch_3x3.conv.weight',
  distinguishedBy: ['branch_1x1.weight'],
  branches: [
    branch('branch_3x3', 'main', 'required', convBn('branch_3x3.conv', 'branch_3x3.bn')),
    branch('branch_1x1', 'pointwise', 'required', [
      { conv: 'branch_1x1', geometry: 'aligned' },
      { scale: 'alpha', optional: true },
    ]),
    { name: 'input', role: 'identity', presence: 'keyless', module: 'identity', chains: [[]] },
  ],
  after: [{ batchNorm: 'post_bn', optional: true }],
  deploy: { weight: 'rbr_reparam.weight', bias: 'rbr_reparam.bias' },
  deployIsEvident: true,
  eps: 1e-3,
  ownNames: ['branch_'],
  leftovers: ['id_tensor'],
};
