export { ACNetBlock, type ACNetBlockOptions } from './acnet';
export { ACNet, type ArticleBlockOptions, RepBlock } from './article';
export { type LoadStateDictOptions, ReparameterizableBlock } from './block';
export { DiverseBranchBlock, type DiverseBranchBlockOptions } from './dbb';
export type { BlockOptions } from './geometry';
export { MobileOneBlock, type MobileOneBlockOptions } from './mobileone';
export { RepVGGBlock, type RepVGGBlockOptions } from './repvgg';
