/** Exit information of VT-x and AMD-V, and what a monitor owes a guest after an exit. */
export * from "./decoded.ts";
export * from "./ept.ts";
export * from "./exit-cpu.ts";
export * from "./exit-work.ts";
export * from "./handles.ts";
export * from "./hypercall-abi.ts";
export * from "./hypercalls.ts";
export * from "./instruction-length.ts";
export * from "./io-bitmap.ts";
export * from "./io-exit.ts";
export * from "./io-monitor.ts";
export * from "./io-permission.ts";
export * from "./nested-page-fault.ts";
export * from "./skip-instruction.ts";
export * from "./string-io.ts";
export * from "./svm-io.ts";
export * from "./vmx-io.ts";
