export { ACNetBlock, type ACNetBlockOptions } from './acnet';
export { ACNet, type ArticleBlock, type ArticleBlockOptions, RepBlock } from './article';
export { ReparameterizableBlock, type StateDictOptions } from './block';
export { DiverseBranchBlock, type DiverseBranchBlockOptions } from './dbb';
export type { Eps } from './eps';
export type { BlockOptions } from './geometry';
export type { LoadStateDictOptions } from './load-state-dict';
export { MobileOneBlock, type MobileOneBlockOptions } from './mobileone';
export { RepVGGBlock, type RepVGGBlockOptions } from './repvgg';
