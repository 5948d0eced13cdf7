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
  /** The key that proves a block in training form; its tensor gives the block's kernel size. */
  readonly anchor: string;
  /** A second key that tells this system from another with the same anchor. */
  readonly distinguishedBy?: string;
  /** Only recognised in files where a block of this family was found (its keys alone prove too little). */
  readonly onlyBeside?: string;
  /** In the order in which they are summed. */
  readonly branches: readonly BranchRule[];
  readonly deploy: { readonly weight: string; readonly bias: string };
  /** The deploy keys alone prove a converted block. False where an ordinary convolution looks the same. */
  readonly deployIsEvident: boolean;
  /** BatchNorm eps of the published code; it is never stored in a state dict. */
  readonly eps: number;
  /** Paths that betray a descendant with another eps: a regular expression on the block's prefix. */
  readonly epsEvidence?: readonly { readonly pattern: string; readonly eps: number; readonly because: string }[];
  /** Keys that belong to the training form but carry nothing. */
  readonly leftovers?: readonly string[];
}

export interface BranchRule {
  /** Also the key prefix under which every tensor must belong to the branch. */
  readonly name: string;
  /** `optional`: there when any of its tensors is. `repeated`: one per index of `{i}`, at least one. */
  readonly presence: 'required' | 'optional' | 'repeated';
  /** Chains of stages, input first; the first chain whose first tensor exists is the branch. */
  readonly chains: readonly (readonly StageRule[])[];
}

export type StageRule =
  /**
   * Key prefix of a convolution (`.weight`, optional `.bias`). `aligned`: works on the block's input, its taps centred on the
   * block's kernel, with the block's stride. `pointwise`: 1x1, stride 1, no padding. `valid`: the block's stride, no padding.
   */
  | { readonly conv: string; readonly geometry: 'aligned' | 'pointwise' | 'valid'; readonly plusIdentity?: boolean }
  /** Key prefix of a BatchNorm (`.running_mean`, `.running_var`, optional `.weight` and `.bias`). */
  | { readonly batchNorm: string }
  /** A frame of the block's padding, filled with what the stages before yield for zero input. */
  | { readonly padBorder: true }
  /** Average pooling with the block's kernel and stride; `aligned` pads as the block does, `valid` does not. */
  | { readonly avgPool: 'aligned' | 'valid' };
