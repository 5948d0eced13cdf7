import { type Schema, value } from '../arguments/schemas';
import { isTensor, type Tensor } from './tensor';

export const TENSOR: Schema<Tensor> = value('a Tensor', isTensor);
