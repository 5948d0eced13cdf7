import { channelList } from './fields';
import { expectImage, integerTensor, type NodeOf, type Operator, ShapeMismatch } from './operator';

/** Some of an image's channels, in any order (`torch.index_select` of axis 1, of which a channel shuffle is one). */
export interface SelectChannelsNode extends NodeOf<'select_channels'> {
  readonly channels: readonly number[];
}

export const selectChannels: Operator<SelectChannelsNode> = {
  inputs: 1,
  fields: { channels: channelList },
  shape({ channels }, [input]) {
    const [n, count, ...size] = expectImage(input);
    const beyond = channels.find((channel) => typeof count === 'number' && channel >= count);
    if (beyond !== undefined) throw new ShapeMismatch(`its input of ${count} channels has no channel ${beyond}`);
    return [n, channels.length, ...size];
  },
  channels: ({ channels }) => channels.length,
  magnitude: (node) => node,
  native: ({ channels }) => ({ kind: 'selectChannels', ints: channels }),
  steps: (node, engine) => engine.images(selectChannels.native!(node, engine.weight)),
  onnx: ({ inputs, channels }) => ({
    opType: 'Gather',
    inputs: [...inputs, integerTensor(channels)],
    attributes: { axis: 1 },
  }),
};
