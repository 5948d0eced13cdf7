import { RepVGGBlock } from '../../lib/blocks';
import type { StateDict } from '../../lib/checkpoint/state-dict';
import { randomizeStatistics } from './randomize-statistics';

/** Training tensors of a RepVGG block with identity branch and rough statistics, under a prefix such as `stage1.0.`. */
export function roughBlock(prefix: string, channels = 8, seed = 1): StateDict {
  const block = new RepVGGBlock({ inChannels: channels, outChannels: channels, seed });
  randomizeStatistics(block, seed);
  return new Map([...block.stateDict()].map(([key, tensor]) => [prefix + key, tensor]));
}
