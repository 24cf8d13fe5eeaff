export { constantOf, FunctionBuilder, simdOpcode } from "./function-builder.ts";
export { ModuleBuilder } from "./module-builder.ts";
export {
  Expr,
  type FunctionRef,
  type FunctionType,
  type Label,
  type Operand,
  OperandError,
  type ValueType,
  type Variable,
} from "./types.ts";
