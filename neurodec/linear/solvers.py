"""Ridge regression in torch: one float64 decomposition serves every target, every penalty and every fold.

Pure functions on arrays; the estimators, the baselines and the linear prior sit on them. On a GPU if there is one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from neurodec.errors import NeurodecError

_RANK_TOLERANCE = 1e-10  # of the largest eigenvalue
_ROWS = 8192  # features turned into float64 at once
_TARGETS = 4096  # targets solved at once
_EIGH = 10  # multiples of r^3 that an eigendecomposition costs, a linear solve two thirds


@dataclass(frozen=True)
class Factor:
    """The spectrum of centred features, from the smaller of their two Gram matrices.

    Parameters
    ----------
    features : ndarray, shape (n, p), float32 or float64
        Centred by the caller.
    squares : Tensor, shape (r,), float64
        Squared singular values, those of rounding left out.
    axes : Tensor, shape (p, r) or (n, r), float64
        Right singular vectors where there are more rows than features, left ones otherwise.

    Notes
    -----
    With r = min(n, p): O(n p r) for the Gram matrix and O(r^3) for its decomposition.
    """

    features: np.ndarray
    squares: Tensor
    axes: Tensor

    @classmethod
    def of(cls, features: np.ndarray) -> Factor:
        """Decompose centred features (n, p).

        Raises
        ------
        NeurodecError
            If all rows are the same.
        """
        tall = features.shape[0] > features.shape[1]
        gram = _products(features, features) if tall else _outer(features)
        squares, axes = torch.linalg.eigh(gram)
        kept = squares > _RANK_TOLERANCE * squares[-1]
        if not kept.any() or squares[-1] <= 0:
            raise NeurodecError("All training responses are the same; check the recording.")
        return cls(features, squares[kept], axes[:, kept])

    @property
    def tall(self) -> bool:
        """Whether there are more rows than features."""
        return self.features.shape[0] > self.features.shape[1]

    def left(self) -> Tensor:
        """Return the left singular vectors (n, r)."""
        if not self.tall:
            return self.axes
        return torch.cat([block @ self.axes for block in _blocks(self.features)]) / self.squares.sqrt()

    def coordinates(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the rows in the space that they span (n, r), where ridge is the same, and the axes (p, r) into it.

        Without axes, the rows are as they were.
        """
        if self.tall:
            return self.features, None
        sizes = self.squares.sqrt()
        axes = _products(self.features, self.axes / sizes)
        return (self.axes * sizes).cpu().numpy(), axes.cpu().numpy()

    def solve(self, targets: np.ndarray, penalties: np.ndarray) -> np.ndarray:
        """Return the ridge weights.

        Parameters
        ----------
        targets : ndarray, shape (n, t)
            Centred.
        penalties : ndarray, shape (t,) or (1,)
            Penalty of every target, as scikit-learn's `alpha`.

        Returns
        -------
        ndarray, shape (p, t), float64
        """
        penalty = torch.as_tensor(penalties, dtype=torch.float64, device=self.axes.device)
        if self.tall:
            right = self.axes.T @ _products(self.features, targets)
            return (self.axes @ (right / (self.squares[:, None] + penalty))).cpu().numpy()
        right = self.axes.T @ _tensor(targets)
        return _products(self.features, self.axes @ (right / (self.squares[:, None] + penalty))).cpu().numpy()

    def operator(self, penalty: float) -> Tensor:
        """Return the matrix (p, n), float32, that turns centred targets into weights.

        It costs one more product of the decomposition's size, p n r, and from then on a target costs p n per value: a
        fraction of `solve`, which goes through the spectrum. Worth it for more target values than rows.
        """
        scale = 1 / (self.squares + penalty)
        if not self.tall:
            return _products(self.features, (self.axes * scale) @ self.axes.T).float()
        inverse = (self.axes * scale) @ self.axes.T
        return torch.cat([inverse @ block.T for block in _blocks(self.features)], dim=1).float()


def held_out_errors(
    factor: Factor, targets: np.ndarray, penalties: np.ndarray, folds: Sequence[np.ndarray]
) -> np.ndarray:
    """Return the squared error of ridge on held-out rows, every fold fitted anew, its intercept too.

    Parameters
    ----------
    factor : Factor
        Of all rows, centred over all of them.
    targets : ndarray, shape (n, t)
    penalties : ndarray, shape (n_penalties,)
    folds : sequence of ndarray of int
        Rows that each fold holds out.

    Returns
    -------
    ndarray, shape (n_penalties, t), float64

    Notes
    -----
    Exact, by the cheaper of two ways. With few rows, from the hat matrix H: the residual of rows g under a fit without
    them is ``(I - H_gg)^-1 (Y - H Y)_g`` (Cook and Weisberg 1982, 2.2), a system of the fold's size per penalty. With
    many, from sums of products: the Gram matrix without a fold is a difference, its decomposition serves all
    penalties, and errors follow from products alone, so that after one pass over the rows nothing grows with their
    number.
    """
    largest = max(len(rows) for rows in folds)
    by_rows = len(penalties) * largest**3 * 2 / 3
    by_products = _EIGH * factor.features.shape[1] ** 3 if factor.tall else np.inf
    errors = np.zeros((len(penalties), targets.shape[1]))
    centred = targets - targets.mean(axis=0)
    if by_rows <= by_products:
        left = factor.left()
        for columns in _stretches(targets.shape[1], max(1, _TARGETS * 1024 // max(len(targets), 1))):
            errors[:, columns] = _errors_by_rows(left, factor.squares, centred[:, columns], penalties, folds)
    else:
        for rows in folds:
            errors += _errors_by_products(factor, centred, penalties, rows)
    return errors


def _errors_by_rows(
    left: Tensor, squares: Tensor, targets: np.ndarray, penalties: np.ndarray, folds: Sequence[np.ndarray]
) -> np.ndarray:
    y = _tensor(targets)
    inner = left.T @ y
    errors = torch.zeros(len(penalties), y.shape[1], dtype=torch.float64, device=y.device)
    parts = [(torch.as_tensor(rows, device=y.device), left[rows]) for rows in folds]
    for place, penalty in enumerate(penalties):
        shrinkage = squares / (squares + float(penalty))
        residual = y - left @ (shrinkage[:, None] * inner)
        for rows, own in parts:
            block = -(own * shrinkage) @ own.T - 1 / len(left)  # the intercept's share of the hat matrix
            block.diagonal().add_(1)
            errors[place] += torch.linalg.solve(block, residual[rows]).square().sum(dim=0)
    return errors.cpu().numpy()


def _errors_by_products(
    factor: Factor, targets: np.ndarray, penalties: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """Return the errors of one fold from sums of products over all rows and over its own."""
    own = factor.features[rows]
    n_own, n_rest = len(rows), len(targets) - len(rows)
    gram, sums, mean, rest = _without(factor, own)
    squares, axes = torch.linalg.eigh(rest)
    cross = torch.outer(sums, mean)
    inner = axes.T @ (gram - cross - cross.T + n_own * torch.outer(mean, mean)) @ axes
    errors = np.zeros((len(penalties), targets.shape[1]))
    for columns in _stretches(targets.shape[1], _TARGETS):
        y, whole = _tensor(targets[rows][:, columns]), _products(factor.features, targets[:, columns])
        product, y_sums = _products(own, targets[rows][:, columns]), y.sum(dim=0)
        y_mean = -y_sums / n_rest
        fitted = axes.T @ (whole - product - n_rest * torch.outer(mean, y_mean))
        seen = axes.T @ (
            product
            - torch.outer(sums, y_mean)
            - torch.outer(mean, y_sums)
            + n_own * torch.outer(mean, y_mean)
        )
        constant = (y - y_mean).square().sum(dim=0)
        for place, penalty in enumerate(penalties):
            weights = fitted / (squares.clamp(min=0) + float(penalty))[:, None]
            error = constant - 2 * (weights * seen).sum(dim=0) + (weights * (inner @ weights)).sum(dim=0)
            errors[place, columns] = error.cpu().numpy()
    return errors


def held_out_predictions(
    factor: Factor, targets: np.ndarray, penalty: float, folds: Sequence[np.ndarray]
) -> np.ndarray:
    """Return what ridge predicts for every row from a fit without its fold.

    Parameters
    ----------
    factor, targets, folds
        As for `held_out_errors`.
    penalty : float

    Returns
    -------
    ndarray, shape (n, t), float64

    Notes
    -----
    The cost of one fit per fold, of features where there are more rows than those, else of the fold's rows.
    """
    mean = targets.mean(axis=0)
    centred = targets - mean
    found = np.empty(targets.shape)
    left = None if factor.tall else factor.left()
    whole = _products(factor.features, centred) if factor.tall else None
    for rows in folds:
        own, y = factor.features[rows], _tensor(centred[rows])
        if left is None:
            _, _, centre, rest = _without(factor, own)
            y_mean = -y.sum(dim=0) / (len(centred) - len(rows))
            right = (
                whole
                - _products(own, centred[rows])
                - (len(centred) - len(rows)) * torch.outer(centre, y_mean)
            )
            rest.diagonal().add_(penalty)
            found[rows] = ((_tensor(own) - centre) @ torch.linalg.solve(rest, right) + y_mean).cpu().numpy()
        else:
            shrinkage = factor.squares / (factor.squares + penalty)
            residual = y - left[rows] @ (shrinkage[:, None] * (left.T @ _tensor(centred)))
            block = -(left[rows] * shrinkage) @ left[rows].T - 1 / len(left)
            block.diagonal().add_(1)
            found[rows] = (y - torch.linalg.solve(block, residual)).cpu().numpy()
    return found + mean


def _without(factor: Factor, own: np.ndarray) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return products and sums of some rows of a tall factor, the mean of the others, and their centred products."""
    n_rest = len(factor.features) - len(own)
    total = (factor.axes * factor.squares) @ factor.axes.T
    gram, sums = _products(own, own), _tensor(own).sum(dim=0)
    mean = -sums / n_rest  # since all rows together have mean 0
    return gram, sums, mean, total - gram - n_rest * torch.outer(mean, mean)


def partially_pooled_weights(
    rows: np.ndarray, targets: np.ndarray, members: list[np.ndarray], penalties: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Solve ``min Σ_s |Y_s − X_s (w + v_s)|² + α (|w|² + Σ_s |v_s|²)`` for every penalty.

    Parameters
    ----------
    rows : ndarray, shape (n, r)
    targets : ndarray, shape (n, t)
    members : list of ndarray of int
        Rows of every subject s; may be empty.
    penalties : ndarray, shape (n_penalties,)

    Returns
    -------
    shared : ndarray, shape (n_penalties, r, t)
        w.
    own : list of ndarray, shape (n_penalties, r, t)
        v_s of every subject.

    Notes
    -----
    With G_s = X_s' X_s and b_s = X_s' Y_s, setting the derivatives to zero gives v_s = (G_s + α)⁻¹ (b_s − G_s w) and
    w = Σ v_s, hence (1 + Σ (G_s + α)⁻¹ G_s) w = Σ (G_s + α)⁻¹ b_s: one r × r system, never one of all subjects.
    """
    spectra = [torch.linalg.eigh(_products(rows[one], rows[one])) for one in members]
    products = [
        vectors.T @ _products(rows[one], targets[one])
        for one, (_, vectors) in zip(members, spectra, strict=True)
    ]
    shared, own = [], [[] for _ in members]
    for alpha in penalties.tolist():
        system = torch.eye(rows.shape[1], dtype=torch.float64, device=device())
        right = torch.zeros(rows.shape[1], targets.shape[1], dtype=torch.float64, device=device())
        for (values, vectors), product in zip(spectra, products, strict=True):
            kept = values.clamp(min=0)
            system += (vectors * (kept / (kept + alpha))) @ vectors.T
            right += vectors @ (product / (kept + alpha)[:, None])
        common = torch.linalg.solve(system, right)
        shared.append(common.cpu().numpy())
        for weights, (values, vectors), product in zip(own, spectra, products, strict=True):
            kept = values.clamp(min=0)[:, None]
            weights.append(
                (vectors @ ((product - kept * (vectors.T @ common)) / (kept + alpha))).cpu().numpy()
            )
    return np.stack(shared), [np.stack(weights) for weights in own]


def device() -> torch.device:
    """Return where the solvers run: the first GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _tensor(values: np.ndarray | Tensor) -> Tensor:
    return torch.as_tensor(values).to(device(), torch.float64)


def _blocks(features: np.ndarray) -> Iterator[Tensor]:
    for start in range(0, len(features), _ROWS):
        yield _tensor(features[start : start + _ROWS])


def _products(features: np.ndarray, others: np.ndarray | Tensor) -> Tensor:
    """Return ``features.T @ others`` in float64, a few rows at a time."""
    found = torch.zeros(features.shape[1], others.shape[1], dtype=torch.float64, device=device())
    for start in range(0, len(features), _ROWS):
        block = _tensor(features[start : start + _ROWS])
        other = block if others is features else _tensor(others[start : start + _ROWS])
        found.addmm_(block.T, other)
    return found


def _outer(features: np.ndarray) -> Tensor:
    """Return ``features @ features.T`` in float64, a few features at a time."""
    found = torch.zeros(len(features), len(features), dtype=torch.float64, device=device())
    for start in range(0, features.shape[1], _ROWS):
        block = _tensor(features[:, start : start + _ROWS])
        found.addmm_(block, block.T)
    return found


def _stretches(n: int, size: int) -> Iterator[slice]:
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))
