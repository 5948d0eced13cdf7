import type { ProgramStep } from './program';

/** How a value lies: images in the engine's layout, tensors row-major. */
export type Form = 'images' | 'tensor';

/** Steps on their way to a program; value 0 is the input, i + 1 what step i makes. */
export class StepList {
  readonly steps: ProgramStep[] = [];
  private readonly forms: Form[] = ['images'];
  /** By value, the number of the same value in the other form where there is one. */
  private readonly others = new Map<number, number>();

  /** @returns the value that the step makes */
  add(step: ProgramStep, form: Form = 'images'): number {
    this.steps.push(step);
    this.forms.push(form);
    return this.steps.length;
  }

  /** Takes the last step back, which nobody has read. */
  removeLast(): void {
    this.steps.pop();
    this.forms.pop();
  }

  /** The step that makes a value; undefined of the input. */
  makerOf(value: number): ProgramStep | undefined {
    return this.steps[value - 1];
  }

  isLast(value: number): boolean {
    return value === this.steps.length;
  }

  formOf(value: number): Form {
    return this.forms[value]!;
  }

  /** A value as images, or as a tensor: itself, or a copy, made once. */
  inForm(value: number, form: Form, name: string): number {
    if (this.forms[value] === form) return value;
    const known = this.others.get(value);
    if (known !== undefined) return known;
    const other = this.add({ kind: form === 'images' ? 'toImages' : 'toTensor', name, inputs: [value] }, form);
    this.others.set(value, other);
    return other;
  }
}
