import type { KnownEps } from './eps';
import type { FamilyRule } from './rule';

/**
 * Which keyless branches blocks have, by prefix: `{ 'stage1.0': ['input'], '*': [] }`. `*` in a prefix stands for any text; a
 * prefix without it comes first, then the longer ones.
 */
export type KeylessAnswers = Readonly<Record<string, readonly string[]>>;

export interface DetectOptions {
  /** Tensors that the file has beside these, of types that are not read, with what they are. */
  readonly unread?: ReadonlyMap<string, string> | undefined;
  /** Default: every rule that repfuse knows. */
  readonly rules?: readonly FamilyRule[];
  /** Families that the file is known to hold: settles a doubt, and looks for those that are only looked for on request. */
  readonly families?: readonly string[] | undefined;
  /** Branches without tensors, by the blocks' prefixes. */
  readonly keyless?: KeylessAnswers | undefined;
  /** Overrides every other eps. */
  readonly eps?: number | undefined;
  /** eps of a BatchNorm by its key prefix, where something tells it (a graph does); `eps` comes before it, the network's after. */
  readonly epsOf?: KnownEps | undefined;
  /** Texts that lie beside the weights, by name, which may tell of the network and its eps. */
  readonly texts?: ReadonlyMap<string, string> | undefined;
  /** The keys come in the order in which the network made its modules, as in torch files; safetensors files are sorted. */
  readonly keysInOrder?: boolean | undefined;
  /** What a pickled module tells: undefined where nothing is known of the module at this path. */
  readonly moduleAt?: ((path: string) => ModuleEvidence | undefined) | undefined;
}

/** What is known of a module beside its tensors. */
export interface ModuleEvidence {
  readonly stride?: readonly number[];
  /** Where it is not `'zeros'`. */
  readonly paddingMode?: string;
}
