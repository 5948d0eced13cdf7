import { type PresentBranch, presentBranches } from '../families/branches';
import type { FamilyRule } from '../families/rule';
import { ACNET } from '../families/rules/acnet';
import { ARTICLE_ACNET, ARTICLE_REPVGG } from '../families/rules/article';
import { DBB } from '../families/rules/dbb';
import { MOBILEONE, TIMM_MOBILEONE } from '../families/rules/mobileone';
import { REPVGG, TIMM_REPVGG } from '../families/rules/repvgg';

/** A rule, and how a block picks the branches that it has from it. */
class Family {
  constructor(readonly rule: FamilyRule) {}

  /**
   * The branches of these names (`rbr_conv.0`), in the rule's order. `holds` decides between a branch's chains: whether the key
   * prefix occurs in the block.
   */
  branches(names: readonly string[], holds: (key: string) => boolean = () => true): readonly PresentBranch[] {
    const wanted = (key: string) =>
      names.some((name) => key.startsWith(`${name}.`) || key.startsWith(`${name}_`)) && holds(key);
    return presentBranches(this.rule, wanted).filter(({ name }) => names.includes(name));
  }
}

/** The systems that the block classes stand for. */
export const FAMILY = {
  acnet: new Family(ACNET),
  articleAcnet: new Family(ARTICLE_ACNET),
  articleRepvgg: new Family(ARTICLE_REPVGG),
  dbb: new Family(DBB),
  mobileone: new Family(MOBILEONE),
  repvgg: new Family(REPVGG),
  timmMobileone: new Family(TIMM_MOBILEONE),
  timmRepvgg: new Family(TIMM_REPVGG),
} as const;
