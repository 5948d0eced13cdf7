import type { FamilyRule } from '../rule';
import { ACNET } from './acnet';
import { ARTICLE_ACNET, ARTICLE_REPVGG } from './article';
import { DBB, DBB_CONV_BN } from './dbb';
import { MOBILEONE, TIMM_MOBILEONE } from './mobileone';
import { REPVGG, TIMM_REPVGG } from './repvgg';

/** Every system that repfuse knows; where two rules fit a key, the earlier one wins. */
export const FAMILY_RULES: readonly FamilyRule[] = [
  DBB,
  ACNET,
  REPVGG,
  MOBILEONE,
  TIMM_MOBILEONE,
  TIMM_REPVGG,
  ARTICLE_ACNET,
  ARTICLE_REPVGG,
  DBB_CONV_BN,
];
