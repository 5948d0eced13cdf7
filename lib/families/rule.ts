/**
 * A block system as plain data: which keys make which branches, what the deploy form is called, what the file does not say.
 * Nothing here is code, so that a rule can come from a JSON file (`parseRules`). Keys are relative to the block's prefix.
 *
 * Placeholders in keys: `{i}` is a running index from 0 (presence `repeated`); `{k}` and `{d}` are any whole numbers (presence
 * `each`); `{n}` in the anchor stands for any number, and `{n+1}` for the one after it: the rule then holds once for each.
 */
export interface FamilyRule {
  /** Short name, as reported: `repvgg`. Several rules may share one, for different spellings of the keys. */
  readonly family: string;
  /** Where the system comes from. */
  readonly source: string;
  /** Weight of the main convolution: its shape gives the block's channels and kernel size. */
  readonly anchor: string;
  /** Keys of which one must be there too: they tell this system from another with the same anchor. */
  readonly distinguishedBy?: readonly string[];
  /** Keys of which none may be there: they tell of another system with the same anchor. */
  readonly without?: readonly string[];
  /** A regular expression on the block's prefix that must match, where paths alone tell systems apart. */
  readonly path?: string;
  /** Only recognised in files where a block of this family was found (its keys alone prove too little), or when asked for. */
  readonly onlyBeside?: string;
  /** Only recognised in a network that is known to have it (`NETWORKS`), or when asked for: its keys are those of another family. */
  readonly onlyInNetwork?: boolean;
  /** Only looked for when asked for by name: what its keys mean is a matter of the network's code. */
  readonly onRequest?: boolean;
  /** Keys that prove little: only a block with all of its tensors, all of fitting shapes, is one. */
  readonly onlyIfComplete?: boolean;
  /**
   * So many branches must show up before the keys count as a block; default 1. More where one branch's names are common: it
   * counts on its own only in a file that has a sure block.
   */
  readonly provingBranches?: number;
  /** What is unsure even of a complete block: it is `ambiguous` unless asked for by name. */
  readonly doubt?: DoubtRule;
  /**
   * The main convolution stands before its BatchNorm in files that keep the order in which a network made its modules; where it
   * does not, the block is `ambiguous`.
   */
  readonly inOrder?: boolean;
  /** In the order in which they are summed: that of the authors' forward pass. */
  readonly branches: readonly BranchRule[];
  /**
   * What becomes of the branches' outputs; default `sum`. `concat`: joined along channels. `split`: joined too, and each branch, all of
   * whose convolutions are depthwise, reads the next of the input's channels.
   */
  readonly combine?: 'sum' | 'concat' | 'split';
  /** Why a block of several groups is refused, where it is. */
  readonly ungrouped?: string;
  /** Affine stages that follow the sum and are folded with it: an outer BatchNorm. */
  readonly after?: readonly StageRule[];
  readonly deploy: { readonly weight: string; readonly bias: string };
  /** The deploy keys alone prove a converted block. False where an ordinary convolution looks the same. */
  readonly deployIsEvident: boolean;
  /** Its name stands for the deploy form in reports, where others took its deploy keys over. */
  readonly namesDeployForm?: boolean;
  /** BatchNorm eps of the published code, where nothing tells of the network's; it is never stored in a state dict. */
  readonly eps: number;
  /** Paths that tell of another eps, whatever the network: regular expressions on the block's prefix. */
  readonly epsEvidence?: readonly { readonly pattern: string; readonly eps: number; readonly because: string }[];
  /** Beginnings of names that only this system uses: a tensor that begins so and that no branch takes is a branch unknown to the rule. */
  readonly ownNames?: readonly string[];
  /** Keys that may stand in the training form but carry nothing. */
  readonly leftovers?: readonly string[];
  /** Keys beside the branches that tell of other maths: such a block is refused. */
  readonly conflicts?: readonly ConflictRule[];
  /** Squeeze-excite modules that a block may have, in both forms. They take no part in fusing. */
  readonly squeezeExcite?: readonly SqueezeExciteRule[];
}

/** Why a complete block may not be one, and what leaves no doubt. */
export interface DoubtRule {
  readonly because: string;
  /** No doubt where the prefix matches this regular expression. */
  readonly unlessPath?: string;
  /** No doubt where the main convolution has unequal numbers of input and output channels. */
  readonly unlessChannelsDiffer?: boolean;
}

/**
 * What a branch is within its block. `main` is the KxK convolution that the others are aligned to, `vertical` Kx1, `horizontal`
 * 1xK, `sequential` a 1x1 convolution followed by a KxK one.
 */
export type BranchRole = 'main' | 'pointwise' | 'vertical' | 'horizontal' | 'identity' | 'average' | 'sequential';

export interface BranchRule {
  /** Its name in reports. */
  readonly name: string;
  readonly role: BranchRole;
  /**
   * `optional`: there when any of its tensors is. `repeated`: one per index of `{i}`, at least one. `each`: one per set of numbers
   * for `{k}` and `{d}` that keys have. `keyless`: the block may add it without any tensor, where it has as many inputs as outputs;
   * whether it does, a pickled module or the user has to say. (`required` without any tensor is always there.)
   */
  readonly presence: 'required' | 'optional' | 'repeated' | 'each' | 'keyless';
  /** A key beside which an optional branch must be there. */
  readonly requiredBeside?: string;
  /** Attribute under which a pickled block holds a keyless branch. */
  readonly module?: string;
  /** Alternative chains of stages, input first; in a file the one that the tensors fit best is the branch. Empty: the input itself. */
  readonly chains: readonly (readonly StageRule[])[];
}

/** A branch in one row. */
export const branch = (
  name: string,
  role: BranchRole,
  presence: BranchRule['presence'],
  ...chains: readonly (readonly StageRule[])[]
): BranchRule => ({ name, role, presence, chains });

/** The commonest chain: a convolution on the block's input, then its BatchNorm. Key prefixes of both. */
export const convBn = (conv: string, batchNorm: string, about: Partial<ConvRule> = {}): readonly StageRule[] => [
  { conv, geometry: 'aligned', ...about },
  { batchNorm },
];

export type StageRule = ConvRule | BatchNormRule | ScaleRule | BiasRule | PadBorderRule | AveragePoolRule;

/**
 * A convolution. `aligned`: works on the block's input, its taps centred on the block's kernel, with the block's stride.
 * `pointwise`: 1x1, stride 1, no padding. `valid`: the block's kernel and stride, no padding.
 */
export interface ConvRule {
  /** Key prefix of `.weight` and an optional `.bias`, or the two keys. */
  readonly conv: string | { readonly weight: string; readonly bias?: string };
  readonly geometry: 'aligned' | 'pointwise' | 'valid';
  /** The stored kernel is the difference to the identity. */
  readonly plusIdentity?: boolean;
  /** As many groups as channels, whatever the block has. */
  readonly depthwise?: boolean;
  /** A depthwise kernel with several outputs for each input channel of the block. First of its branch. */
  readonly expanding?: boolean;
  /** The tensor holds the taps of a depthwise kernel alone: [kh, kw] for all channels, or [C, kh, kw]. Never first of its branch. */
  readonly taps?: boolean;
  /** The weight may be that of a linear layer, [out, in], which is a 1x1 convolution. */
  readonly linear?: boolean;
  /** Height and width that the kernel must have, where they tell systems apart; a number may be `{k}`. */
  readonly kernel?: readonly [number | string, number | string];
  /** Dilation of an `aligned` kernel, where it is not the block's: a number, or `{d}`. */
  readonly dilation?: number | string;
}

/** Key prefix of a BatchNorm: `.running_mean` and `.running_var` (Paddle: `._mean`, `._variance`), optional `.weight` and `.bias`. */
export interface BatchNormRule {
  readonly batchNorm: string;
  /** The stage is not there without its tensors. */
  readonly optional?: boolean;
  /** Filled in from the file: Paddle's names. */
  readonly paddle?: boolean;
}

/** A factor: one value, or one per channel. */
export interface ScaleRule {
  readonly scale: string;
  /** The factors are this row of a matrix [rows, C]. */
  readonly row?: number;
  readonly negative?: boolean;
  /** The factor is 1 without its tensor. */
  readonly optional?: boolean;
  /** The code tests the factor for truth, so that a stored 0 acts as 1. */
  readonly zeroIsOne?: boolean;
}

/** A constant to add, one value per channel. */
export interface BiasRule {
  readonly bias: string;
}

/** A frame of the block's padding, filled with what the stages before yield for zero input. */
export interface PadBorderRule {
  readonly padBorder: true;
}

/** Average pooling with the block's kernel and stride; `aligned` pads as the block does, `valid` does not. */
export interface AveragePoolRule {
  readonly avgPool: 'aligned' | 'valid';
}

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
