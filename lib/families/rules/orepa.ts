import type { BranchRule, FamilyRule } from '../rule';

const SOURCE = 'Hu et al., OREPA, CVPR 2022; JUGGHM/OREPA_CVPR2022, models/blocks.py';

/** A part of the generated kernel, times its row of `vector`. */
const part = (
  name: string,
  row: number,
  role: BranchRule['role'],
  ...chains: readonly (readonly BranchRule['chains'][number][number][])[]
): BranchRule => ({
  name,
  role,
  presence: 'required',
  chains: chains.map((chain) => [...chain, { scale: 'vector', row }]),
});

const weight = (name: string) => ({ weight: `weight_${name}` });

/** One convolution whose kernel is generated from six parts (equation 6 of the paper), then a BatchNorm. */
export const OREPA: FamilyRule = {
  family: 'orepa',
  source: SOURCE,
  anchor: 'weight_orepa_origin',
  branches: [
    part('origin', 0, 'main', [{ conv: weight('orepa_origin'), geometry: 'aligned' }]),
    part('avg', 1, 'average', [
      { conv: weight('orepa_avg_conv'), geometry: 'pointwise' },
      { conv: weight('orepa_avg_avg'), geometry: 'aligned', depthwise: true, taps: true },
    ]),
    part('pfir', 2, 'sequential', [
      { conv: weight('orepa_pfir_conv'), geometry: 'pointwise' },
      { conv: weight('orepa_prior'), geometry: 'aligned', depthwise: true, taps: true },
    ]),
    part(
      '1x1_kxk',
      3,
      'sequential',
      [
        { conv: weight('orepa_1x1_kxk_idconv1'), geometry: 'pointwise', plusIdentity: true },
        { conv: weight('orepa_1x1_kxk_conv2'), geometry: 'aligned' },
      ],
      [
        { conv: weight('orepa_1x1_kxk_conv1'), geometry: 'pointwise' },
        { conv: weight('orepa_1x1_kxk_conv2'), geometry: 'aligned' },
      ],
    ),
    part('1x1', 4, 'pointwise', [{ conv: weight('orepa_1x1'), geometry: 'aligned', kernel: [1, 1] }]),
    part('gconv', 5, 'sequential', [
      { conv: weight('orepa_gconv_dw'), geometry: 'aligned', depthwise: true, expanding: true },
      { conv: weight('orepa_gconv_pw'), geometry: 'pointwise' },
    ]),
  ],
  after: [{ batchNorm: 'bn' }],
  deploy: { weight: 'orepa_reparam.weight', bias: 'orepa_reparam.bias' },
  deployIsEvident: true,
  eps: 1e-5,
  ungrouped: 'the separable part of OREPA is known for one group only',
  ownNames: ['weight_orepa_'],
  leftovers: ['id_tensor'],
};

/** The 1x1 form: the kernel and a product of two. */
export const OREPA_1X1: FamilyRule = {
  family: 'orepa-1x1',
  source: SOURCE,
  anchor: 'weight_or1x1_origin',
  branches: [
    part('origin', 0, 'main', [{ conv: weight('or1x1_origin'), geometry: 'pointwise' }]),
    part('l2i', 1, 'sequential', [
      { conv: weight('or1x1_l2i_conv1'), geometry: 'pointwise' },
      { conv: weight('or1x1_l2i_conv2'), geometry: 'pointwise' },
    ]),
  ],
  after: [{ batchNorm: 'bn' }],
  deploy: { weight: 'or1x1_reparam.weight', bias: 'or1x1_reparam.bias' },
  deployIsEvident: true,
  eps: 1e-5,
  ungrouped: 'the 1x1 form of OREPA is known for one group only',
  ownNames: ['weight_or1x1_'],
};
