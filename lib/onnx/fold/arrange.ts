import { type Analysis, analyse } from '../analysis';
import type { FixedConstants } from '../fixed-constants';
import type { OnnxModel } from '../model';
import { reassociateSums } from './reassociate';

/** A model whose terms and parts stand where they can be merged, and what is known of it. The values are the same but for the order of rounding. */
export interface Arranged {
  readonly model: OnnxModel;
  readonly analysis: Analysis;
}

/** The terms of sums that are maps of one value stand together. */
export function arrange(model: OnnxModel, fixed: FixedConstants): Arranged {
  const analysis = analyse(model, fixed);
  const summed = reassociateSums(model, analysis.wiring, analysis.known);
  return summed === model ? { model, analysis } : { model: summed, analysis: analyse(summed, fixed) };
}
