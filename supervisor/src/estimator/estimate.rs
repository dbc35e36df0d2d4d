//! Interval estimation over the values of a module's instances.

use std::fmt;

use serde::Serialize;
use statrs::distribution::{ContinuousCDF, StudentsT};

/// That a module has too few instances for an estimate: a variance of one or two says nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct TooFew {
    /// Instances that could be counted.
    pub instances: usize,
}

impl TooFew {
    /// The fewest instances that allow an estimate.
    pub const NEEDED: usize = 3;
}

impl fmt::Display for TooFew {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (instances, needed) = (self.instances, TooFew::NEEDED);
        write!(formatter, "no estimate: {instances} instances to go by, and {needed} are needed")
    }
}

impl std::error::Error for TooFew {}

/// From here to there, in bytes.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Interval {
    /// The lower end.
    pub lower: f64,
    /// The upper end.
    pub upper: f64,
}

impl Interval {
    fn around(middle: f64, half: f64) -> Interval {
        Interval { lower: middle - half, upper: middle + half }
    }
}

/// What the instances of a module need, by the values of some of them.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Estimate {
    /// Instances whose values were taken: *m*.
    pub instances: usize,
    /// Their mean, in bytes.
    pub mean: f64,
    /// Their unbiased variance: the sum of squares is divided by *m* − 1.
    pub variance: f64,
    /// The confidence of both intervals, between 0 and 1.
    pub confidence: f64,
    /// The two-sided quantile of Student's t at this confidence, with *m* − 1 degrees of freedom.
    pub t: f64,
    /// Where the mean of all instances that there could be lies: mean ± t √(variance / m).
    pub mean_interval: Interval,
    /// Where the value of one more instance lies: mean ± t √(variance (1 + 1/m)).
    pub prediction_interval: Interval,
}

impl Estimate {
    /// An estimate by these values, in bytes, at this confidence.
    ///
    /// ```
    /// use capmalloc_supervisor::Estimate;
    ///
    /// let estimate = Estimate::of(&[10.0, 12.0, 14.0], 0.95).unwrap();
    /// assert_eq!((estimate.mean, estimate.variance), (12.0, 4.0));
    /// assert!((estimate.t - 4.303).abs() < 0.001);
    /// let refused = Estimate::of(&[10.0, 12.0], 0.95).unwrap_err();
    /// assert_eq!(refused.to_string(), "no estimate: 2 instances to go by, and 3 are needed");
    /// ```
    ///
    /// # Errors
    ///
    /// Where there are fewer than three values.
    ///
    /// # Panics
    ///
    /// Where the confidence is not between 0 and 1.
    pub fn of(values: &[f64], confidence: f64) -> Result<Estimate, TooFew> {
        let instances = values.len();
        if instances < TooFew::NEEDED {
            return Err(TooFew { instances });
        }
        let count = instances as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let moments = Moments { instances, mean, variance: squares / (count - 1.0) };
        Ok(moments.at(confidence))
    }

    /// The same values at another confidence.
    #[must_use]
    pub fn at(&self, confidence: f64) -> Estimate {
        let Estimate { instances, mean, variance, .. } = *self;
        Moments { instances, mean, variance }.at(confidence)
    }

    /// The most that one more instance holds at a moment, where what an instance holds varies by
    /// this standard deviation around its value: mean + t √(variance (1 + 1/m) + deviation²).
    ///
    /// The prediction interval is of values, which are medians and so vary less than footprints.
    #[must_use]
    pub fn moment_upper(&self, deviation: f64) -> f64 {
        let of_values = self.variance * (1.0 + 1.0 / self.instances as f64);
        self.mean + self.t * (of_values + deviation.powi(2)).sqrt()
    }
}

/// What an estimate is made of besides its confidence.
struct Moments {
    instances: usize,
    mean: f64,
    variance: f64,
}

impl Moments {
    fn at(self, confidence: f64) -> Estimate {
        let Moments { instances, mean, variance } = self;
        let count = instances as f64;
        let t = student_t_quantile(confidence, count - 1.0);
        let of_mean = t * (variance / count).sqrt();
        let of_next = t * (variance * (1.0 + 1.0 / count)).sqrt();
        Estimate {
            instances,
            mean,
            variance,
            confidence,
            t,
            mean_interval: Interval::around(mean, of_mean),
            prediction_interval: Interval::around(mean, of_next),
        }
    }
}

/// The two-sided quantile of Student's t: between −t and t lies the part `confidence` of it.
///
/// # Panics
///
/// Where the confidence is not between 0 and 1, or the degrees of freedom are not positive.
#[must_use]
pub fn student_t_quantile(confidence: f64, degrees_of_freedom: f64) -> f64 {
    assert!(confidence > 0.0 && confidence < 1.0, "a confidence of {confidence}");
    let distribution = StudentsT::new(0.0, 1.0, degrees_of_freedom);
    let distribution = distribution.expect("degrees of freedom are positive");
    distribution.inverse_cdf(0.5 + confidence / 2.0)
}
