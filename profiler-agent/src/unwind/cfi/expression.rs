//! The few DWARF expressions that compilers and linkers put into call frame information, solved for their registers.

use super::Bytes;
use super::machine::Machine;
use gimli::{Encoding, Expression, Operation, Register};

/// Bytes of an expression: the longest of those that a rule can say has 11.
const MAX_BYTES: usize = 32;
/// Values at once.
const MAX_DEPTH: usize = 4;

/// What a value starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// The canonical frame address.
    Cfa,
    /// A register of the callee.
    Register(Register),
}

/// A value in terms of the callee's registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// A number.
    Constant(i64),
    /// `base + offset`
    Sum(Base, i64),
    /// `*(base + offset) + extra`
    Load(Base, i64, i64),
    /// `sp + 8 + (if pc % 16 >= threshold { 8 } else { 0 })`
    Stub(i64),
    /// `pc`
    Pc,
    /// `pc % 16`
    PcInStub,
    /// `pc % 16 >= threshold`
    PastPush(i64),
    /// `if pc % 16 >= threshold { 8 } else { 0 }`
    Pushed(i64),
}

impl Value {
    /// `self + addend`
    fn plus(self, addend: i64) -> Option<Self> {
        Some(match self {
            Self::Constant(value) => Self::Constant(value.checked_add(addend)?),
            Self::Sum(base, offset) => Self::Sum(base, offset.checked_add(addend)?),
            Self::Load(base, offset, extra) => Self::Load(base, offset, extra.checked_add(addend)?),
            _ => return None,
        })
    }

    /// `*self`
    pub(super) fn load(self) -> Option<Self> {
        match self {
            Self::Sum(base, offset) => Some(Self::Load(base, offset, 0)),
            _ => None,
        }
    }
}

/// The value of an expression that starts with `first` on its stack; none when it is of another form.
pub(super) fn solve(code: Bytes<'_>, encoding: Encoding, first: Option<Value>, machine: &Machine) -> Option<Value> {
    if code.len() > MAX_BYTES {
        return None;
    }
    let mut stack = Stack::default();
    if let Some(first) = first {
        stack.push(first)?;
    }
    let mut operations = Expression(code).operations(encoding);
    while let Some(operation) = operations.next().ok()? {
        let value = match operation {
            Operation::Nop => continue,
            Operation::RegisterOffset { register, offset, base_type } if base_type.0 == 0 => {
                if Some(register) == machine.pc && offset == 0 {
                    Value::Pc
                } else {
                    Value::Sum(Base::Register(register), offset)
                }
            }
            Operation::UnsignedConstant { value } => Value::Constant(value.try_into().ok()?),
            Operation::SignedConstant { value } => Value::Constant(value),
            Operation::PlusConstant { value } => stack.pop()?.plus(value.try_into().ok()?)?,
            Operation::Deref { base_type, size: 8, space: false } if base_type.0 == 0 => stack.pop()?.load()?,
            operation => {
                let right = stack.pop()?;
                combine(operation, stack.pop()?, right, machine)?
            }
        };
        stack.push(value)?;
    }
    stack.pop()
}

fn combine(operation: Operation<Bytes<'_>>, left: Value, right: Value, machine: &Machine) -> Option<Value> {
    use Value::{Constant, PastPush, Pc, PcInStub, Pushed, Stub, Sum};
    match (operation, left, right) {
        (Operation::Plus, value, Constant(addend)) | (Operation::Plus, Constant(addend), value) => value.plus(addend),
        (Operation::Minus, value, Constant(subtrahend)) => value.plus(subtrahend.checked_neg()?),
        (Operation::And, Pc, Constant(15)) => Some(PcInStub),
        (Operation::Ge, PcInStub, Constant(threshold)) => Some(PastPush(threshold)),
        (Operation::Shl, PastPush(threshold), Constant(3)) => Some(Pushed(threshold)),
        (Operation::Plus, Sum(Base::Register(sp), 8), Pushed(threshold)) if sp == machine.sp => Some(Stub(threshold)),
        _ => None,
    }
}

#[derive(Default)]
struct Stack {
    values: [Option<Value>; MAX_DEPTH],
    depth: usize,
}

impl Stack {
    fn push(&mut self, value: Value) -> Option<()> {
        *self.values.get_mut(self.depth)? = Some(value);
        self.depth += 1;
        Some(())
    }

    fn pop(&mut self) -> Option<Value> {
        self.depth = self.depth.checked_sub(1)?;
        self.values[self.depth]
    }
}
