/**
 * A block system as plain data: which keys make which branches, what the deploy form is called, what the file does not say.
 * Nothing here is code, so that a rule can come from a JSON file. Keys are relative to the block's prefix; `{i}` stands for a
 * running index from 0.
 */
export interface FamilyRule {
  /** Short name, as reported: `repvgg`. */
  readonly family: string;
  /** Where the system comes from. */
  readonly source: string;
  /** Weight of the main convolution: its shape gives the block's channels and kernel size. */
  readonly anchor: string;
  /** Keys of which one must be there too: they tell this system from another with the same anchor. */
  readonly distinguishedBy?: readonly string[];
  /** Only recognised in files where a block of this family was found (its keys alone prove too little). */
  readonly onlyBeside?: string;
  /**
   * So many branches must show up before the keys count as a block; default 1. More where one branch's names are common: it
   * counts on its own only in a file that has a sure block.
   */
  readonly provingBranches?: number;
  /** In the order in which they are summed: that of the authors' forward pass. */
  readonly branches: readonly BranchRule[];
  readonly deploy: { readonly weight: string; readonly bias: string };
  /** The deploy keys alone prove a converted block. False where an ordinary convolution looks the same. */
  readonly deployIsEvident: boolean;
  /** BatchNorm eps of the published code; it is never stored in a state dict. */
  readonly eps: number;
  /** Paths that betray a descendant with another eps: a regular expression on the block's prefix. */
  readonly epsEvidence?: readonly { readonly pattern: string; readonly eps: number; readonly because: string }[];
  /** Keys that may stand in the training form but carry nothing. */
  readonly leftovers?: readonly string[];
  /** Keys beside the branches that tell of other maths: such a block is refused. */
  readonly conflicts?: readonly ConflictRule[];
  /** Squeeze-excite modules that a block may have, in both forms. They take no part in fusing. */
  readonly squeezeExcite?: readonly SqueezeExciteRule[];
}

/**
 * What a branch is within its block. `main` is the KxK convolution that the others are aligned to, `vertical` Kx1, `horizontal`
 * 1xK, `sequential` a 1x1 convolution followed by a KxK one.
 */
export type BranchRole = 'main' | 'pointwise' | 'vertical' | 'horizontal' | 'identity' | 'average' | 'sequential';

export interface BranchRule {
  /** As reported. */
  readonly name: string;
  readonly role: BranchRole;
  /** `optional`: there when any of its tensors is. `repeated`: one per index of `{i}`, at least one. */
  readonly presence: 'required' | 'optional' | 'repeated';
  /** A key beside which an optional branch must be there. */
  readonly requiredBeside?: string;
  /** Alternative chains of stages, input first; in a file the one that the tensors fit best is the branch. */
  readonly chains: readonly (readonly StageRule[])[];
}

export type StageRule =
  /**
   * Key prefix of a convolution (`.weight`, optional `.bias`). `aligned`: works on the block's input, its taps centred on the
   * block's kernel, with the block's stride. `pointwise`: 1x1, stride 1, no padding. `valid`: the block's kernel and stride, no
   * padding. `plusIdentity`: the stored kernel is the difference to the identity.
   */
  | { readonly conv: string; readonly geometry: 'aligned' | 'pointwise' | 'valid'; readonly plusIdentity?: boolean }
  /** Key prefix of a BatchNorm (`.running_mean`, `.running_var`, optional `.weight` and `.bias`). */
  | { readonly batchNorm: string }
  /** A frame of the block's padding, filled with what the stages before yield for zero input. */
  | { readonly padBorder: true }
  /** Average pooling with the block's kernel and stride; `aligned` pads as the block does, `valid` does not. */
  | { readonly avgPool: 'aligned' | 'valid' };

export interface ConflictRule {
  /** A key, or the beginning of keys if it ends with a dot. Each leading `../` goes up one name of the block's path. */
  readonly key: string;
  /** `ambiguous`: the file fits several systems. `unsupported`: it fits one that cannot be fused. */
  readonly kind: 'ambiguous' | 'unsupported';
  readonly because: string;
}

/** Squeeze-excite: key prefixes of its two 1x1 convolutions, and how many channels lie between them. */
export interface SqueezeExciteRule {
  readonly reduce: string;
  readonly expand: string;
  readonly position: 'before-activation' | 'after-activation';
  /** Output channels over hidden channels, rounded down, or to the nearest multiple of `roundTo` (at least one). */
  readonly reduction: number;
  readonly roundTo?: number;
}
