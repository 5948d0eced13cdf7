import type { EpsChoice } from './eps-choice';

/**
 * eps by the configuration that OpenMMLab's trainers store beside the weights (`meta.cfg`): the values of `norm_cfg` for
 * BatchNorms, one of each. A `norm_cfg` without eps has torch's.
 */
export function configuredEps(texts: ReadonlyMap<string, string>): EpsChoice[] {
  const values = new Map<number, string>();
  for (const [name, text] of texts) {
    for (const [, settings] of text.matchAll(NORM_CFG)) {
      if (!/BN|BatchNorm/.test(settings!) || /track_running_stats['"]?\s*[=:]\s*False/.test(settings!)) continue;
      const eps = Number(/\beps['"]?\s*[=:]\s*([\d.eE+-]+)/.exec(settings!)?.[1] ?? 1e-5);
      if (Number.isFinite(eps) && eps >= 0 && !values.has(eps)) values.set(eps, name);
    }
  }
  return [...values].map(([value, name]) => ({ value, source: `norm_cfg of ${name}` }));
}

/** A BatchNorm's configuration, as Python or JSON writes it: `norm_cfg=dict(type='BN', eps=0.001)`, `'norm_cfg': {'type': 'BN'}`. */
const NORM_CFG = /norm_cfg['"]?\s*[=:]\s*(?:dict\(|\{)([^(){}]*)[)}]/g;
